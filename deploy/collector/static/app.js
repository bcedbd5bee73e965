// Starts the page: views by the part of the address after "#", the theme, the live connection.

import { announce } from "./dom.js";
import { connect } from "./live.js";
import { devicesView } from "./devices.js";
import { roomView } from "./room.js";
import { roomsView } from "./rooms.js";

const main = document.getElementById("main");
const link = document.getElementById("link");
let leave = () => {};
let here = 0; // which entry of the browser's history is shown
const left = new Map(); // how each was left: how far scrolled, and the link that had the focus
history.scrollRestoration = "manual";

// The parts of the address; none of one that cannot be read, which is nobody's.
function parts() {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  } catch {
    return [];
  }
}

function show() {
  leave();
  const [view, ...rest] = parts();
  const [draw, name] = view === "room" && rest.length === 3 ? [roomView, "rooms"] : view === "devices" ? [devicesView, "devices"] : [roomsView, "rooms"];
  main.replaceChildren();
  leave = draw(main, ...rest) ?? (() => {});
  for (const a of document.querySelectorAll("nav a")) {
    if (a.dataset.view === name) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
}

// After Back the page is as it was left; else whoever reads on by keys begins at the new view, not at the page's end.
function go() {
  left.set(here, { top: scrollY, link: document.activeElement?.getAttribute("href") });
  const before = left.get(history.state?.entry);
  show();
  here = history.state?.entry ?? crypto.getRandomValues(new Uint32Array(1))[0];
  if (history.state?.entry === undefined) history.replaceState({ entry: here }, "");
  const link = before?.link && main.querySelector(`a[href="${CSS.escape(before.link)}"]`);
  (link || main).focus({ preventScroll: true });
  scrollTo(0, before?.top ?? 0);
}

const THEMES = ["auto", "light", "dark"];
const button = document.getElementById("theme");
function themed(theme) {
  if (theme === "auto") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("theme");
  } else {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }
  button.textContent = theme[0].toUpperCase() + theme.slice(1);
  button.setAttribute("aria-label", `Theme: ${theme}`);
  document.dispatchEvent(new Event("themed"));
}
button.addEventListener("click", () => themed(THEMES[(THEMES.indexOf(localStorage.getItem("theme") ?? "auto") + 1) % 3]));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themed")));

// Paper is light, whatever the screen is.
addEventListener("beforeprint", () => {
  document.documentElement.dataset.theme = "light";
  document.dispatchEvent(new Event("themed"));
});
addEventListener("afterprint", () => themed(localStorage.getItem("theme") ?? "auto"));

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", go);
here = history.state?.entry ?? 0;
history.replaceState({ entry: here }, "");
themed(localStorage.getItem("theme") ?? "auto");
show();
const LINKS = { live: "Live", lost: "Recon\u00adnecting", broker: "No broker", database: "Database away" };
connect((state) => {
  announce(link, LINKS[state]);
  link.dataset.state = state;
});
