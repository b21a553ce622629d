// Browser tests against a real system: `aevon dev` with a database of its own.
import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

const chromium = [process.env["CHROMIUM"], "/usr/bin/chromium", "/usr/bin/google-chrome", "/usr/bin/chromium-browser"].find((path) => path && existsSync(path));

export default defineConfig({
  testDir: "tests",
  outputDir: "tests/out",
  globalSetup: "./tests/system.ts",
  timeout: 60_000,
  expect: { timeout: 6_000 },
  workers: 1,
  reporter: [["list"]],
  use: {
    actionTimeout: 6_000,
    trace: "retain-on-failure",
    reducedMotion: "reduce",
    launchOptions: { ...(chromium ? { executablePath: chromium } : {}), args: ["--no-sandbox"] },
  },
});
