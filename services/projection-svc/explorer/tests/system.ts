// Starts the system that the tests look at, with the seed in it, or takes one that runs (AEVON_URL).
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { seed } from "./seed";

const ROOT = resolve(fileURLToPath(import.meta.url), "../../../../..");
const DEADLINE = 90_000;

const freePort = () =>
  new Promise<number>((found, failed) => {
    const server = createServer();
    server.on("error", failed);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => (typeof address === "object" && address ? found(address.port) : failed(new Error("no port"))));
    });
  });

async function ready(base: string, system: ChildProcess, said: () => string): Promise<void> {
  const end = Date.now() + DEADLINE;
  while (Date.now() < end && system.exitCode === null) {
    const answer = await fetch(`${base}/readyz`, { signal: AbortSignal.timeout(2_000) }).catch(() => null);
    if (answer?.ok) return;
    await new Promise((done) => setTimeout(done, 300));
  }
  throw new Error(`the system did not come up:\n${said()}`);
}

export default async function start(): Promise<() => Promise<void>> {
  const program = process.env["AEVON_BIN"] ?? join(ROOT, process.env["CARGO_TARGET_DIR"] ?? "target", "debug/aevon");
  if (!existsSync(program)) throw new Error(`${program} is missing; build it with \`make bins\``);
  const data = mkdtempSync(join(tmpdir(), "aevon-explorer-"));
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  const args = ["dev", "--no-sample", "--port", String(port), "--data-dir", data, "--rules", join(ROOT, "examples/rules"), "--schemas", join(ROOT, "examples/schemas")];
  const system = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, AEVON_AGGREGATION__CRON_INTERVAL: "2s" } });
  let said = "";
  for (const stream of [system.stdout, system.stderr]) stream.on("data", (text) => (said = (said + String(text)).slice(-4_000)));
  const stop = async () => {
    const ended = new Promise((done) => (system.exitCode === null ? system.on("exit", done) : done(null)));
    system.kill("SIGINT");
    const late = setTimeout(() => system.kill("SIGKILL"), 20_000);
    await ended;
    clearTimeout(late);
    rmSync(data, { recursive: true, force: true });
  };
  try {
    await ready(base, system, () => said);
    process.env["EXPLORER_URL"] = `${base}/`;
    process.env["EXPLORER_SEEDED"] = JSON.stringify(await seed(base));
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}
