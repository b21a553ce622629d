// An API whose requests are metered.
import { createServer } from "node:http";
import express from "express";
import { connect } from "./aevon.js";
import { Meter } from "./meter.js";
import { metered } from "./middleware.js";
import { Quota } from "./quota.js";

const env = (name: string, otherwise: string): string => process.env[name] ?? otherwise;
const key = process.env["AEVON_KEY"]; // of the platform, with the scopes ingest and read; none for `make run`
const meter = new Meter(connect(env("AEVON_INGEST_URL", "http://127.0.0.1:8080"), key));
const quota = new Quota(connect(env("AEVON_STATE_URL", "http://127.0.0.1:8080"), key), {
  rule: "api_requests",
  limit: Number(env("REQUESTS_A_MONTH", "1000")),
  deadlineMs: Number(env("QUOTA_WAIT_MS", "250")),
});

const app = express();
app.disable("x-powered-by");
app.use(
  metered({
    meter,
    quota,
    source: "express",
    // Behind a gateway that has found out who calls, and lets nobody else set these.
    whoOf: (request) => {
      const [tenant, principal] = [request.get("x-tenant"), request.get("x-principal")];
      return tenant && principal ? { tenant, principal } : undefined;
    },
  }),
);
app.get("/items/:id", (request, response) => {
  response.json({ id: request.params.id, name: `Item ${request.params.id}` });
});

const server = createServer(app).listen(Number(env("PORT", "3000")), "127.0.0.1");
process.once("SIGTERM", () => {
  server.close(async () => {
    const left = await meter.close(20_000);
    console.log(JSON.stringify({ ...meter.counts, left }));
    process.exit(left > 0 ? 1 : 0);
  });
});
