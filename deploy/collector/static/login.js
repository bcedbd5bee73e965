// Says why the last try failed. `fer-collector demo` names an address with the token after "#", which no server sees.
const words = {
  "?wrong": "That is not the token.",
  "?wait": "Too many wrong tokens. Try again in a minute.",
};
document.getElementById("problem").textContent = words[location.search] ?? "";

const form = document.querySelector("form");
const given = location.hash.slice(1);
if (given.startsWith("/")) form.action = `/login${location.hash}`; // a view, no token: redirects keep it and lead back there
else if (given) {
  history.replaceState(null, "", location.pathname);
  document.getElementById("token").value = given;
  form.requestSubmit();
}
