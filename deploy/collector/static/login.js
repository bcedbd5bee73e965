// Says why the last try failed.
const words = {
  "?wrong": "That is not the token.",
  "?wait": "Too many wrong tokens. Try again in a minute.",
};
document.getElementById("problem").textContent = words[location.search] ?? "";
