// Says why the last try failed. `fer-collector demo` names an address with the token after "#", which no server sees.
const words = {
  "?wrong": "That is not the token.",
  "?wait": "Too many wrong tokens. Try again in a minute.",
};
document.getElementById("problem").textContent = words[location.search] ?? "";

const given = location.hash.slice(1);
if (given) {
  history.replaceState(null, "", location.pathname);
  document.getElementById("token").value = given;
  document.querySelector("form").requestSubmit();
}
