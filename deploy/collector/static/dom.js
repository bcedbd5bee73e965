// Makes elements. Text only ever becomes a text node: nothing that came over the wire is read as HTML.

const SVG = new Set(["svg", "path", "rect", "line", "g", "circle", "title"]);

export function h(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "css") for (const [property, v] of Object.entries(value)) element.style.setProperty(property, v);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Whatever is set in a live region is read aloud, the same words too: only other words are set.
export function announce(region, ...children) {
  const words = children.map((child) => child.textContent ?? child).join("");
  if (region.textContent !== words) region.replaceChildren(...children);
}

// Makes these the children, in this order. What is in its place already is not touched, and the focus stays where it was.
export function place(parent, children) {
  const focused = document.activeElement;
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const child of children) {
    if (child === next) next = next.nextElementSibling;
    else if (parent.moveBefore && parent.isConnected && child.parentNode === parent) parent.moveBefore(child, next); // does not blur
    else parent.insertBefore(child, next);
  }
  if (document.activeElement !== focused && parent.contains(focused)) focused.focus({ preventScroll: true });
}
