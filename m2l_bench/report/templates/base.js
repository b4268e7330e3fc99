"use strict";
// Names are set through textContent or attributes; HTML is never built from text.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

// Names as shown, without characters that are invisible or change the reading direction.
const plain = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");

// Names of systems may break after a colon.
const breakable = (name) => name.replaceAll(":", ":\u200b");

function element(name, attributes = {}, text = "") {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

const digitsOf = (value) => (Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);

function shown(value, digits = digitsOf(value)) {
  if (value === null) return "–";
  return value.toFixed(digits).replace(/^-(0(\.0*)?)$/, "$1");
}
