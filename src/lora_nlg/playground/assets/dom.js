// Elements by name, and made ones. Texts become text nodes; nothing here or elsewhere reads them as HTML.

export const byId = (id) => document.getElementById(id);

export function make(tag, { text, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

export function listOf(values, id) {
  return make("datalist", { id }, ...values.map((value) => make("option", { value })));
}
