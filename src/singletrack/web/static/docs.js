/** Shows openapi.json as a page. */

/**
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @param {any} schema */
function typeOf(schema) {
  if (schema.enum) return schema.enum.join(", ");
  const type = [schema.type].flat().join(" or ");
  return schema.items?.type ? `${type} of ${schema.items.type}` : type;
}

const api = await (await fetch("/openapi.json")).json();
const page = /** @type {HTMLElement} */ (document.getElementById("operations"));
/** @type {HTMLElement} */ (document.getElementById("about")).textContent = api.info.description;
/** @type {HTMLElement} */ (document.getElementById("origin")).textContent = location.origin;
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(/** @type {Record<string, any>} */ (methods))) {
    const name = operation.responses["101"] ? "WEBSOCKET" : method.toUpperCase();
    page.append(make("h2", {}, make("span", { class: "method" }, name), path), make("div", {}, operation.summary));
    const rows = operation.parameters.map((/** @type {any} */ each) => [each.name, each.in, typeOf(each.schema), each.schema.description ?? ""]);
    const body = operation.requestBody?.content["application/json"]?.schema.properties ?? {};
    for (const [key, schema] of Object.entries(body)) rows.push([key, "body", typeOf(schema), /** @type {any} */ (schema).description ?? ""]);
    if (rows.length) page.append(make("table", {}, ...rows.map((/** @type {string[]} */ row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))))));
  }
}
