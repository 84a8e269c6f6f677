"use strict";
(() => {
  const table = document.getElementById("findings");
  if (!table) return;

  const FIELDS = ["kind", "name", "customer", "category", "list_name", "entry", "why", "changed", "uid", "details"];
  const AT = Object.fromEntries(FIELDS.map((field, index) => [field, index]));
  const NUMBERS = new Set(["changed", "uid"]);
  const CHOICES = ["kind", "category", "customer", "list_name"];
  const PRINTED = 2000;
  const OFFERED = 1000;
  // What can't be seen, in paths and in other words; as in names.py.
  const IN_PATHS = /(?! )[\p{C}\p{Z}]/gu;
  const IN_WORDS = /(?![ \u00a0\u202f])[\p{C}\p{Z}]/gu;

  const KINDS = JSON.parse(document.getElementById("kinds").textContent);
  const RANKS = Object.fromEntries(Object.keys(KINDS).map((kind, rank) => [kind, rank]));
  const ROWS = JSON.parse(document.getElementById("rows").textContent);
  const HAYSTACKS = new Array(ROWS.length);

  const byId = (id) => document.getElementById(id);
  const filters = byId("filters");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const columns = heads.map((head) => ({
    head,
    field: head.dataset.field,
    label: head.textContent,
    classes: head.className,
  }));

  const state = { found: ROWS.map((_, index) => index), field: "kind", down: false, page: 0, per: 100 };

  const make = (tag, classes, text) => {
    const element = document.createElement(tag);
    if (classes) element.className = classes;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const hex = (code, digits) => code.toString(16).padStart(digits, "0");

  const label = (character) => {
    const code = character.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) return "\\x" + hex(code - 0xdc00, 2);
    if (code < 0x80) return "\\x" + hex(code, 2);
    return code < 0x10000 ? "\\u" + hex(code, 4) : "\\U" + hex(code, 8);
  };

  // Names come from strangers: they are text and never markup, and what can't be seen in them is marked.
  const shown = (name, isPath) => {
    const outer = make("bdi", isPath ? "path" : "");
    const add = (text) => text.split("/").forEach((part, index) => {
      if (index) outer.append("/", ...(isPath ? [make("wbr")] : []));
      outer.append(part);
    });
    let end = 0;
    for (const found of name.matchAll(isPath ? IN_PATHS : IN_WORDS)) {
      add(name.slice(end, found.index));
      outer.append(make("span", "mark", label(found[0])));
      end = found.index + found[0].length;
    }
    add(name.slice(end));
    return outer;
  };

  const number = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");

  const day = (seconds) => {
    const date = new Date(seconds * 1000);
    return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().slice(0, 10);
  };

  const content = (row, field) => {
    const value = row[AT[field]];
    if (value === null || value === "") return "";
    switch (field) {
      case "kind": return make("span", "verdict " + value, KINDS[value]);
      case "name": return shown(value, true);
      case "changed": return day(value);
      case "uid": return String(value);
      default: return shown(value);
    }
  };

  const cell = (classes) => {
    const made = make("td", classes);
    made.setAttribute("role", "cell");
    return made;
  };

  const line = () => {
    const made = make("tr");
    made.setAttribute("role", "row");
    return made;
  };

  const details = (row) => {
    const list = make("dl");
    for (const [name, value] of row[AT.details]) {
      const text = make("dd");
      text.append(shown(value));
      list.append(make("dt", "", name), text);
    }
    const outer = cell();
    outer.colSpan = columns.length + 1;
    outer.append(list);
    const made = line();
    made.className = "details";
    made.append(outer);
    return made;
  };

  const toggle = (button, row) => {
    const here = button.closest("tr");
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    button.textContent = open ? "Details" : "Close";
    here.classList.toggle("open", !open);
    if (open) here.nextElementSibling.remove();
    else here.after(details(row));
  };

  const rendered = (row) => {
    const made = line();
    for (const { field, label: title, classes } of columns) {
      const one = cell(classes);
      one.dataset.label = title;
      one.append(content(row, field));
      made.append(one);
    }
    const last = cell("more");
    if (row[AT.details].length) {
      const button = make("button", "", "Details");
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      button.addEventListener("click", () => toggle(button, row));
      last.append(button);
    }
    made.append(last);
    return made;
  };

  const fill = (from, to) => body.replaceChildren(...state.found.slice(from, to).map((index) => rendered(ROWS[index])));

  const show = () => {
    const pages = Math.max(1, Math.ceil(state.found.length / state.per));
    state.page = Math.min(state.page, pages - 1);
    const from = state.page * state.per;
    const to = Math.min(from + state.per, state.found.length);
    fill(from, to);
    const all = ROWS.length === state.found.length ? "" : ", filtered from " + number(ROWS.length);
    byId("shown").textContent = state.found.length
      ? `Rows ${number(from + 1)} to ${number(to)} of ${number(state.found.length)}${all}`
      : `No row of ${number(ROWS.length)} fits`;
    byId("page").textContent = `Page ${number(state.page + 1)} of ${number(pages)}`;
    byId("back").disabled = state.page === 0;
    byId("on").disabled = state.page === pages - 1;
    byId("pages").hidden = ROWS.length <= 50;
    for (const { head, field } of columns) {
      if (field === state.field) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    byId("order").value = state.field + (state.down ? " down" : "");
  };

  const sort = () => {
    const at = AT[state.field];
    const value = state.field === "kind" ? (index) => RANKS[ROWS[index][0]] : (index) => ROWS[index][at];
    const sign = state.down ? -1 : 1;
    const none = NUMBERS.has(state.field) ? null : "";
    state.found.sort((a, b) => {
      const x = value(a);
      const y = value(b);
      if (x === y) return a - b;
      // What has no value comes last, either way.
      if (x === none) return 1;
      if (y === none) return -1;
      return x < y ? -sign : sign;
    });
  };

  const haystack = (index) =>
    (HAYSTACKS[index] ??= [...ROWS[index].slice(1, 7), ...ROWS[index][AT.details].map((pair) => pair[1])].join("\n").toLowerCase());

  const filter = () => {
    const text = byId("text").value.trim().toLowerCase();
    const wanted = CHOICES.filter((field) => byId(field)?.value).map((field) => [AT[field], byId(field).value.slice(1)]);
    state.found = [];
    for (let index = 0; index < ROWS.length; index += 1) {
      const row = ROWS[index];
      if (wanted.every(([at, value]) => row[at] === value) && (!text || haystack(index).includes(text))) {
        state.found.push(index);
      }
    }
    state.page = 0;
    sort();
    show();
  };

  const option = (value, text) => {
    const made = make("option", "", text);
    made.value = value;
    return made;
  };

  const plain = (name) => name.replace(IN_WORDS, label);

  const offer = (field) => {
    const select = byId(field);
    if (!select) return;
    const counts = new Map();
    for (const row of ROWS) counts.set(row[AT[field]], (counts.get(row[AT[field]]) ?? 0) + 1);
    // Browsers take seconds to show lists that are much longer.
    const most = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, OFFERED);
    const names = most.sort((a, b) =>
      field === "kind" ? RANKS[a] - RANKS[b] : Number(a === "") - Number(b === "") || (a < b ? -1 : 1));
    // A value begins with a character of its own, so that the empty name differs from no choice.
    select.append(option("", "All"), ...names.map((name) =>
      option("=" + name, `${field === "kind" ? KINDS[name] : plain(name) || "None"} (${number(counts.get(name))})`)));
    if (counts.size > names.length) {
      const others = option("", `${number(counts.size - names.length)} others: find them by text`);
      others.disabled = true;
      select.append(others);
    }
    select.closest(".field").hidden = names.length < 2;
  };

  const sortBy = (field, down) => {
    Object.assign(state, { field, down, page: 0 });
    sort();
    show();
  };

  const turn = (pages) => {
    state.page += pages;
    show();
    byId("findings-title").scrollIntoView();
  };

  for (const column of columns) {
    const { head, field, label: title } = column;
    const button = make("button", "", title);
    button.type = "button";
    button.addEventListener("click", () => sortBy(field, state.field === field && !state.down));
    head.setAttribute("role", "columnheader");
    head.replaceChildren(button);
    byId("order").append(option(field, title), option(field + " down", title + ", turned round"));
  }
  const last = make("th", "more");
  last.scope = "col";
  last.setAttribute("role", "columnheader");
  last.append(make("span", "hidden", "Details"));
  table.tHead.rows[0].append(last);

  // On narrow screens the table is no grid to look at, and browsers would take it for none.
  table.setAttribute("role", "table");
  table.tHead.setAttribute("role", "rowgroup");
  table.tHead.rows[0].setAttribute("role", "row");
  body.setAttribute("role", "rowgroup");

  CHOICES.forEach(offer);
  filters.hidden = false;
  let waiting = 0;
  byId("text").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  filters.addEventListener("change", (event) => {
    if (event.target.id === "order") {
      const [field, down] = event.target.value.split(" ");
      sortBy(field, Boolean(down));
    } else filter();
  });
  byId("clear").addEventListener("click", () => {
    byId("text").value = "";
    for (const field of CHOICES) if (byId(field)) byId(field).value = "";
    filter();
  });
  byId("per").addEventListener("change", (event) => {
    state.per = Number(event.target.value);
    state.page = 0;
    show();
  });
  byId("back").addEventListener("click", () => turn(-1));
  byId("on").addEventListener("click", () => turn(1));

  window.addEventListener("beforeprint", () => {
    fill(0, PRINTED);
    const printed = Math.min(PRINTED, state.found.length);
    byId("shown").textContent =
      `${number(printed)} of ${number(ROWS.length)} rows, as they were filtered and sorted`;
  });
  window.addEventListener("afterprint", show);

  sort();
  show();
})();
