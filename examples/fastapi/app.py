"""A gateway to a language model, in the manner of OpenAI's API, whose tokens are metered: `uvicorn app:app`."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import httpx
from aevon_client import AuthenticatedClient
from aevon_client.models import Event, EventData
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse

from metering import Meter, Quota, month_of


def connect(url: str) -> AuthenticatedClient:
    """With the tenant's key, of the scopes ingest and read; none is needed for `make run`."""
    base_url = os.environ.get(url, "http://127.0.0.1:8080")
    return AuthenticatedClient(base_url=base_url, token=os.environ.get("AEVON_KEY", "none"), timeout=httpx.Timeout(5))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    ingest, state = connect("AEVON_INGEST_URL"), connect("AEVON_STATE_URL")
    model = httpx.AsyncClient(base_url=os.environ.get("MODEL_URL", "http://127.0.0.1:11434/v1"), timeout=120)
    async with ingest, state, model:
        async with Meter(ingest) as app.state.meter:
            app.state.model = model
            limit, wait_s = Decimal(os.environ.get("TOKENS_A_MONTH", "1000000")), float(os.environ.get("QUOTA_WAIT_S", "0.5"))
            app.state.quota = Quota(state, app.state.meter, TENANT, "tokens_used", limit, wait_s)
            yield
        print(json.dumps(app.state.meter.counts), flush=True)


TENANT = os.environ.get("TENANT", "acme")
app = FastAPI(title="Metered models", lifespan=lifespan)


@dataclass
class Usage:
    """Whose request it is, and where its handler tells what it consumed."""

    meter: Meter
    principal: str

    def record(self, id: str, model: str, tokens: int) -> None:
        """`id` is the call's for ever: recorded again, it counts once."""
        self.meter.record(Event(
            tenant_id=TENANT, principal_id=self.principal, id=id, source="gateway", type_="model.call",
            occurred_at=datetime.now(UTC), data=EventData.from_dict({"model": model, "tokens": tokens})))


async def metered(request: Request, x_principal: Annotated[str, Header()]) -> Usage:
    """The dependency: lets in who has tokens left. Behind something that has found out who calls."""
    quota: Quota = request.app.state.quota
    used = await quota.used(x_principal)
    if used is not None and used >= quota.limit:
        now = datetime.now(UTC)
        seconds = (month_of(now)[1] - now).total_seconds()
        raise HTTPException(429, f"{used} of {quota.limit} tokens are used", {"retry-after": str(int(seconds) + 1)})
    return Usage(request.app.state.meter, x_principal)


@app.post("/v1/chat/completions")
async def complete(request: Request, body: dict[str, Any], usage: Annotated[Usage, Depends(metered)]) -> JSONResponse:
    if body.get("stream"):
        raise HTTPException(400, "streams are left out of this example")
    try:
        answer = await request.app.state.model.post("/chat/completions", json=body)
    except httpx.HTTPError as error:
        raise HTTPException(502, f"the model is not to be had: {error!r}") from error
    content = answer.json()
    if answer.is_success:
        usage.record(content["id"], content["model"], content["usage"]["total_tokens"])
    return JSONResponse(content, answer.status_code)
