// What a person does with the page, in a real browser against a real system.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, test as base, type Page } from "@playwright/test";
import { HOUR, TEAM, TENANT, type Seeded } from "./seed";

const url = (): string => process.env["EXPLORER_URL"]!;
const seeded = (): Seeded => JSON.parse(process.env["EXPLORER_SEEDED"]!) as Seeded;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Every test fails on an error of the console, and on a request to anywhere else. */
const test = base.extend<{ page: Page; allowed: RegExp[] }>({
  allowed: [[], { option: true }],
  page: async ({ page, allowed }, use) => {
    const wrong: string[] = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) wrong.push(message.text());
    });
    page.on("pageerror", (error) => wrong.push(error.message));
    page.on("request", (request) => {
      if (!request.url().startsWith(url()) && !request.url().startsWith("data:")) wrong.push(`asks ${request.url()}`);
    });
    await use(page);
    expect(wrong.filter((text) => !allowed.some((one) => one.test(text)))).toEqual([]);
  },
});

const open = (page: Page, fragment = "") => page.goto(`${url()}#${fragment}`);
const ofTeam = (more = "") => `tenant=${TENANT}&principal=${TEAM}&rule=tokens_used${more}`;
const chart = (page: Page) => page.getByRole("group", { name: /tokens_used of team-atlas by hours/ });
const windowAt = (page: Page, hour: number) => page.locator(`rect[data-start="${new Date(seeded().start + hour * HOUR).toISOString().replace(".000Z", "Z")}"]`);
const slider = (page: Page) => page.getByRole("slider", { name: "As of" });

interface Violation {
  id: string;
  impact: string;
  help: string;
  nodes: { html: string; failureSummary: string }[];
}

/** What axe finds that is serious. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run: (options: object) => Promise<{ violations: Violation[] }> } };
    return (await axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })).violations;
  });
  return found
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.help}\n${one.nodes.slice(0, 3).map((node) => `${node.html}\n${node.failureSummary}`).join("\n")}`);
}

test("a stranger picks a tenant, a principal, a rule", async ({ page }) => {
  await open(page);
  await page.getByLabel("Tenant").fill(TENANT);
  await page.keyboard.press("Enter");
  await page.getByRole("region", { name: "Principals" }).getByRole("button", { name: /team-borealis/ }).click();
  await expect(page.getByRole("heading", { name: /tokens_used/ })).toBeVisible();

  const principal = page.getByRole("combobox", { name: "Principal" });
  await principal.fill("team-a");
  await expect(page.getByRole("listbox", { name: "Principals" }).getByRole("option")).toHaveText([TEAM]);
  await principal.press("ArrowDown");
  await principal.press("Enter");
  await expect(page).toHaveURL(new RegExp(`principal=${TEAM}`));
  await expect(chart(page)).toBeVisible();

  await page.getByRole("radio", { name: /largest_call/ }).check();
  await expect(page.getByRole("heading", { name: /largest_call/ })).toBeVisible();
  await expect(page.locator(".figure")).toContainText("6,400.125");
  await page.goBack();
  await expect(page.getByRole("heading", { name: /tokens_used/ })).toBeVisible();
  await expect(page.getByText(/in step|behind/).first()).toBeVisible();
});

test("the values are those of the API, digit by digit", async ({ page, request }) => {
  await open(page, ofTeam("&by=model"));
  const answer = await request.get(`${url()}v1/state/${TENANT}/${TEAM}?rule=tokens_used`);
  const { value, event_count: count } = (await answer.json()).values[0];
  expect(count).toBe(seeded().counted);
  const shown = (text: string) => text.replace(/\B(?=(\d{3})+(\.|$))(?<!\.\d*)/g, ",");
  await expect(page.locator(".figure .number")).toHaveText(shown(value));

  const grouped = await request.get(`${url()}v1/state/${TENANT}/${TEAM}?rule=tokens_used&group_by=model`);
  for (const one of (await grouped.json()).values as { group: { model: string | null }; value: string | null }[]) {
    if (one.group.model === null || one.value === null) continue;
    await expect(page.getByRole("list", { name: "Groups by model" }).getByRole("button", { name: one.group.model })).toContainText(shown(one.value));
  }
  await page.getByRole("list", { name: "Groups by model" }).getByRole("button", { name: "large" }).click();
  await expect(page).toHaveURL(/filter\[model\]=large/);
  await page.getByRole("radio", { name: "Table" }).check();
  await expect(page.getByRole("table", { name: /tokens_used by hours/ })).toBeVisible();
});

test("history is redrawn as it was known, and what has rewritten it lights up", async ({ page }) => {
  await open(page, ofTeam());
  const late = windowAt(page, seeded().lateHour);
  await expect(late).toHaveAttribute("aria-label", /3 late events/);
  await expect(windowAt(page, seeded().voidHour)).toHaveAttribute("aria-label", /2 voids/);
  const now = await page.locator(".figure .number").textContent();

  // Back to before the late events came in, by the buttons, which stop at each change.
  const back = page.getByRole("button", { name: "To the change of history before" });
  for (let step = 0; step < 30 && !/rewritten since.*3 late/.test((await late.getAttribute("aria-label")) ?? ""); step++) await back.click();
  await expect(late).toHaveAttribute("aria-label", /rewritten since, now [\d,.]+; 3 late events/);
  await expect(page.locator(".lit")).toHaveCount(2);
  await expect(page.getByText("3 late events and 2 voids have rewritten this since.")).toBeVisible();
  await expect(page.locator(".figure .number")).not.toHaveText(now!);
  await expect(page).toHaveURL(/version=\d+:\d+/);

  // A link shows the same to somebody else.
  const then = await page.locator(".figure .number").textContent();
  await page.reload();
  await expect(page.locator(".figure .number")).toHaveText(then!);

  await slider(page).focus();
  await page.keyboard.press("End");
  await expect(page.locator(".figure .number")).toHaveText(now!);
  await page.keyboard.press("Home");
  await expect(slider(page)).toHaveAttribute("aria-valuetext", /event 1\b/);
  await page.keyboard.press("ArrowRight");
  await expect(slider(page)).toHaveAttribute("aria-valuetext", /event 2\b/);
  await expect(page.locator(".figure")).toContainText("2 events");

  await page.getByRole("radio", { name: "by clock" }).check();
  await page.getByRole("button", { name: "Play history" }).click();
  await expect(page.getByRole("button", { name: "Pause" })).toBeVisible();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: "Now", exact: true }).click();
  await expect(page.getByText("As known now", { exact: true })).toBeVisible();
});

test("a window tells the events behind it, and what has changed it since", async ({ page }) => {
  await open(page, ofTeam());
  await windowAt(page, seeded().amendedHour).click();
  const panel = page.getByRole("region", { name: "The window that was picked" });
  await expect(panel.getByText(/bucket|from the log/)).toBeVisible();
  await panel.getByRole("button", { name: "amended-0" }).click();
  await expect(panel.getByLabel("The event")).toContainText('"6400.125"');

  // The position before the amendment.
  const back = page.getByRole("button", { name: "To the change of history before" });
  await back.click();
  await back.click();
  await panel.getByRole("radio", { name: "Changed since" }).check();
  await expect(panel.getByText("voided", { exact: false }).first()).toBeVisible();
  await expect(panel.getByRole("row", { name: /amended-0/ })).toContainText("+6,400.125");
  await panel.getByRole("button", { name: "Close the window" }).click();
  await expect(panel).toHaveCount(0);
});

test("an answer is verified, and every question can be copied", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await open(page, ofTeam("&by=model"));
  await page.getByRole("button", { name: "Verify" }).click();
  await expect(page.getByText("Proven.")).toBeVisible();

  const buttons = page.getByRole("button", { name: /^Copy as curl/ });
  await expect(buttons.nth(4)).toBeVisible();
  for (const button of await buttons.all()) {
    await button.click();
    const command = await page.evaluate(() => navigator.clipboard.readText());
    const asked = /^curl -s '(.+)'$/.exec(command)?.[1];
    expect(asked, command).toBeTruthy();
    expect((await context.request.get(asked!)).status(), command).toBe(200);
  }
});

test("all of it works by keyboard alone", async ({ page }) => {
  await open(page, ofTeam());
  await expect(chart(page)).toBeVisible();
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "To the content" })).toBeFocused();
  const last = chart(page).getByRole("button").last();
  await last.focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  await expect(windowAt(page, 1)).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("region", { name: "The window that was picked" }).getByRole("heading", { level: 2 })).toBeFocused();
});

test.describe("where something is missing or wrong", () => {
  test.use({ allowed: [/Failed to load resource/] });

  test("it says so in words", async ({ page }) => {
    await open(page, "tenant=nobody-yet");
    await expect(page.getByText("Nothing is known of tenant nobody-yet")).toBeVisible();
    await open(page, `tenant=${TENANT}&principal=nobody&rule=tokens_used`);
    await expect(page.getByText(/There is no event of type/)).toBeVisible();
    await open(page, ofTeam("&version=0:99999999"));
    await expect(page.getByRole("alert").first()).toContainText(/version/);
  });

  test("a key is asked for, kept in the tab, and sent", async ({ page }) => {
    const keys: (string | undefined)[] = [];
    await page.route("**/v1/**", async (route) => {
      keys.push(route.request().headers()["authorization"]);
      if (keys.at(-1) === "Bearer aevon_good") return route.fallback();
      const problem = { type: "urn:aevon:problem:unauthenticated", title: "Who is asking?", status: 401, detail: "the key is not known" };
      return route.fulfill({ status: 401, contentType: "application/problem+json", body: JSON.stringify(problem) });
    });
    await open(page, ofTeam());
    await page.getByLabel(/Key with scope/).fill("aevon_good");
    await page.getByRole("button", { name: "Use this key" }).click();
    await expect(chart(page)).toBeVisible();
    expect(keys.at(-1)).toBe("Bearer aevon_good");
    expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain("aevon_good");
    await expect(page.getByRole("button", { name: /^Copy as curl/ }).first()).toHaveAttribute("title", /\$AEVON_KEY/);
    await page.getByRole("button", { name: "Forget the key" }).click();
    await expect(page.getByLabel(/Key with scope/)).toBeVisible();
  });

  test("a service that is away is told, and a slow answer does not hold the page up", async ({ page }) => {
    await open(page, ofTeam());
    await expect(chart(page)).toBeVisible();
    await page.route("**/v1/**", (route) => route.abort());
    await page.getByRole("radio", { name: /api_requests/ }).check();
    await expect(page.getByText("The service can't be reached").first()).toBeVisible();
    await page.unroute("**/v1/**");
    await page.getByRole("button", { name: "Try again" }).first().click();
    await expect(page.getByRole("group", { name: /api_requests of team-atlas/ })).toBeVisible();
  });
});

for (const colorScheme of ["light", "dark"] as const) {
  for (const [name, viewport] of [["wide", { width: 1360, height: 900 }], ["phone", { width: 390, height: 844 }]] as const) {
    test.describe(`${colorScheme}, ${name}`, () => {
      test.use({ colorScheme, viewport });

      test("has no serious fault of accessibility, and fits", async ({ page }) => {
        await open(page);
        expect(await violations(page)).toEqual([]);
        await open(page, `tenant=${TENANT}`);
        await expect(page.getByRole("region", { name: "Principals" })).toBeVisible();
        expect(await violations(page)).toEqual([]);
        await open(page, ofTeam("&by=model"));
        await expect(chart(page)).toBeVisible();
        await page.getByRole("button", { name: "To the change of history before" }).click();
        await windowAt(page, 3).click();
        await page.getByRole("region", { name: "The window that was picked" }).getByRole("button").nth(2).click();
        await page.getByRole("button", { name: "Verify" }).click();
        await expect(page.getByText("Proven.")).toBeVisible();
        expect(await violations(page)).toEqual([]);
        await page.getByRole("radio", { name: "Table" }).check();
        expect(await violations(page)).toEqual([]);
        const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
        expect(inner).toBeLessThanOrEqual(outer!);
        await page.screenshot({ path: `tests/out/${colorScheme}-${name}.png`, fullPage: true });
      });
    });
  }
}
