import { render } from "preact";
import { App, applyTheme, theme } from "./app";
import "./style.css";

applyTheme(theme());
const place = document.getElementById("app");
if (place) {
  place.replaceChildren();
  render(<App />, place);
}
