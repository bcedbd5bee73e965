// Starts the page: views by the part of the address after "#", the theme, the live connection.

import { announce } from "./dom.js";
import { connect } from "./live.js";
import { devicesView } from "./devices.js";
import { roomView } from "./room.js";
import { roomsView } from "./rooms.js";

const main = document.getElementById("main");
const link = document.getElementById("link");
let leave = () => {};

function show() {
  leave();
  const [view, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const [draw, name] = view === "room" && rest.length === 3 ? [roomView, "rooms"] : view === "devices" ? [devicesView, "devices"] : [roomsView, "rooms"];
  main.replaceChildren();
  leave = draw(main, ...rest) ?? (() => {});
  for (const a of document.querySelectorAll("nav a")) {
    if (a.dataset.view === name) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  window.scrollTo(0, 0);
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

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);
themed(localStorage.getItem("theme") ?? "auto");
show();
const LINKS = { live: "Live", lost: "Recon\u00adnecting", broker: "No broker", database: "Database away" };
connect((state) => {
  announce(link, LINKS[state]);
  link.dataset.state = state;
});
