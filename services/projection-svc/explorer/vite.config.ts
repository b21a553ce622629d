// The page becomes one file, so that it is one route and one path of an ingress; its scripts and styles
// are allowed by their hashes, which stand in the policy that is served with it.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const API = process.env["AEVON_URL"] ?? "http://127.0.0.1:8080";

const sha256 = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

function policy(script: string, style: string): string {
  return [
    "default-src 'none'",
    `script-src ${sha256(script)}`,
    `style-src ${sha256(style)}`,
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

/** What the page holds of others goes with their terms. */
const notice = (): string => `<!-- This page holds Preact:\n\n${readFileSync("node_modules/preact/LICENSE", "utf8").trim()}\n-->`;

/** Puts script and style into the page, and writes the policy beside it. */
function inOneFile(): Plugin {
  return {
    name: "in-one-file",
    enforce: "post",
    generateBundle(_, bundle) {
      const page = bundle["index.html"];
      if (page?.type !== "asset") throw new Error("there is no page");
      let html = String(page.source);
      let script = "";
      let style = "";
      for (const [name, part] of Object.entries(bundle)) {
        if (part === page) continue;
        const text = part.type === "chunk" ? part.code : String(part.source);
        if (name.endsWith(".js")) script += text.trim();
        else if (name.endsWith(".css")) style += text.trim();
        else throw new Error(`${name} has no place in the page`);
        delete bundle[name];
      }
      if (/<\/script|<!--/i.test(script) || /<\/style/i.test(style)) {
        throw new Error("the page would end early");
      }
      html = html
        .replace(/<script type="module"[^>]*><\/script>\s*/, "")
        .replace(/<link rel="stylesheet"[^>]*>\s*/, "")
        .replace("<html", () => `${notice()}\n<html`)
        .replace("</head>", () => `<style>${style}</style>\n</head>`)
        .replace("</body>", () => `<script type="module">${script}</script>\n</body>`);
      page.source = html;
      this.emitFile({
        type: "asset",
        fileName: "content-security-policy",
        source: policy(script, style),
      });
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [inOneFile()],
  build: {
    target: "es2022",
    // `light-dark()` is what the themes are made of; it is left as it is.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
  },
  server: { proxy: { "/v1": API, "/docs": API } },
});
