"""A web application over one registry: `uvicorn --app-dir examples fastapi_app:app`.

The registry is made once, when the application starts. A client that goes away ends its stream,
and what was used until then is booked.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

import orchestify
from orchestify import (
    AllTargetsFailedError,
    APIError,
    BudgetExceededError,
    ProviderRegistry,
    load_config,
)

CONFIG = Path(__file__).with_name("config")


class Question(BaseModel):
    """What a user asks."""

    text: str
    user: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the registry open while the application runs."""
    async with ProviderRegistry.from_config(load_config(CONFIG)) as registry:
        app.state.registry = registry
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/answers")
async def answer(question: Question, request: Request) -> dict[str, str | None]:
    """Answer whole; a spent budget is a 429, a provider's failure a 502."""
    assistant = request.app.state.registry.get_for_agent("assistant")
    try:
        with orchestify.scope(user=question.user):
            response = await assistant.complete(question.text, timeout_s=30)
    except BudgetExceededError as error:
        raise HTTPException(429, f"the budget {error.budget} is spent") from error
    except (APIError, AllTargetsFailedError) as error:
        raise HTTPException(502, type(error).__name__) from error
    cost = None if response.cost_usd is None else str(response.cost_usd)
    return {"text": response.content, "cost_usd": cost}


@app.post("/streams")
async def stream(question: Question, request: Request) -> StreamingResponse:
    """Answer as it arrives."""
    assistant = request.app.state.registry.get_for_agent("assistant")

    async def texts() -> AsyncIterator[str]:
        with orchestify.scope(user=question.user):
            answer = assistant.stream(question.text)
        async with answer:
            async for text in answer:
                yield text

    return StreamingResponse(texts(), media_type="text/plain")


@app.get("/costs")
async def costs(request: Request) -> list[dict[str, object]]:
    """Return what each user has cost."""
    report = await request.app.state.registry.usage(by="label:user")
    return [{"user": row.key[0], "cost_usd": str(row.total.cost_usd)} for row in report.rows]
