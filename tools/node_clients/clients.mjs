// Each client asks for the weather of two cities, answers the calls of the tool, and prints the text.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { embedMany, generateText, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false; // of models whose names it does not know

const { GATEWAY_URL: url, GATEWAY_TOKEN: apiKey } = process.env;
const PROMPT = "Is it warm in Oslo, and in Rome?";
const CITY = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
};
const MOST_TURNS = 5;
const weather = ({ city }) => `warm in ${city}`;

async function openai(model, stream) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
  const tools = [{ type: "function", function: { name: "get_weather", parameters: CITY } }];
  const messages = [{ role: "user", content: PROMPT }];
  for (let turn = 0; turn < MOST_TURNS; turn++) {
    const asked = { model, messages, tools };
    const answer = stream
      ? await client.chat.completions.stream(asked).finalChatCompletion()
      : await client.chat.completions.create(asked);
    const { message } = answer.choices[0];
    messages.push(message);
    if (!message.tool_calls?.length) return message.content;
    for (const { id, function: called } of message.tool_calls) {
      const content = weather(JSON.parse(called.arguments));
      messages.push({ role: "tool", tool_call_id: id, content });
    }
  }
}

async function anthropic(model, stream) {
  const client = new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });
  const tools = [{ name: "get_weather", input_schema: CITY }];
  const messages = [{ role: "user", content: PROMPT }];
  for (let turn = 0; turn < MOST_TURNS; turn++) {
    const asked = { model, messages, tools, max_tokens: 4096 };
    const answer = stream
      ? await client.messages.stream(asked).finalMessage()
      : await client.messages.create(asked);
    messages.push({ role: "assistant", content: answer.content });
    const calls = answer.content.filter((block) => block.type === "tool_use");
    if (!calls.length) return answer.content.findLast((block) => block.type === "text").text;
    const results = calls.map(({ id, input }) => ({
      type: "tool_result",
      tool_use_id: id,
      content: weather(input),
    }));
    messages.push({ role: "user", content: results });
  }
}

async function aiSdk(model, stream) {
  const tools = {
    get_weather: tool({ inputSchema: z.object({ city: z.string() }), execute: weather }),
  };
  const asked = { model, prompt: PROMPT, tools, stopWhen: stepCountIs(MOST_TURNS), maxRetries: 0 };
  return stream ? await streamText(asked).text : (await generateText(asked)).text;
}

const viaOpenAI = createOpenAI({ baseURL: `${url}/v1`, apiKey });
const viaAnthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey });
const CLIENTS = {
  openai,
  "@anthropic-ai/sdk": anthropic,
  "ai with @ai-sdk/openai": (model, stream) => aiSdk(viaOpenAI.chat(model), stream),
  "ai with @ai-sdk/anthropic": (model, stream) => aiSdk(viaAnthropic(model), stream),
};

async function vectors() {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
  const { data } = await client.embeddings.create({ model: "openai/embed", input: ["a", "b"] });
  const { embeddings } = await embedMany({
    model: viaOpenAI.embedding("openai/embed"),
    values: ["a", "b"],
    maxRetries: 0,
  });
  const own = data.map((row) => row.embedding);
  return JSON.stringify(own) === JSON.stringify(embeddings) ? "the same vectors" : "others";
}

let failed = 0;
async function attempt(name, wanted, run) {
  let said;
  try {
    said = await run();
  } catch (error) {
    said = String(error);
  }
  failed += said !== wanted;
  console.log(`${said === wanted ? "ok    " : "FAILED"} ${name}: ${said}`);
}

for (const [name, ask] of Object.entries(CLIENTS)) {
  for (const model of process.env.GATEWAY_MODELS.split(",")) {
    for (const stream of [false, true]) {
      const how = `${name}, ${model}, ${stream ? "streamed" : "whole"}`;
      await attempt(how, "It is warm in both.", () => ask(model, stream));
    }
  }
}
await attempt("openai and ai, embeddings", "the same vectors", vectors);
process.exit(failed ? 1 : 0);
