// What a screen reader is told that changes without being asked for.
const region = document.createElement("div");
region.className = "hidden";
region.setAttribute("role", "status");
region.setAttribute("aria-live", "polite");
document.body.append(region);

let timer: ReturnType<typeof setTimeout> | undefined;

/** Says it once things have settled: a slider in motion says only where it came to rest. */
export function say(text: string, after = 400): void {
  clearTimeout(timer);
  timer = setTimeout(() => (region.textContent = text), after);
}
