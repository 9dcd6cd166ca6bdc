"""OpenAI's Chat Completions, as every endpoint that speaks it takes and sends it.

Read `dialects` first: a row for each endpoint that differs, with what is sent and what is read.
`request` fits a request to it and writes its body, `answer` reads chunks and whole answers,
`tool_calls` puts calls together from their pieces. Only `lanes` imports from here, and what needs a
row of `dialects`.
"""
