// What is nicer with JavaScript: suggestions while typing, and selects that submit themselves. Nothing needs it.
(() => {
  "use strict";
  document.documentElement.classList.add("scripted");

  for (const field of document.querySelectorAll("[data-submit]")) {
    field.addEventListener("change", () => field.form.requestSubmit());
  }

  const input = document.querySelector("input[data-suggest]");
  if (!input) return;
  const WAIT_MS = 120;
  const list = document.createElement("div");
  list.id = "suggestions";
  list.className = "suggestions";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Suggestions");
  list.hidden = true;
  input.form.append(list);
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-controls", list.id);
  input.setAttribute("aria-expanded", "false");
  input.setAttribute("aria-autocomplete", "list");

  let timer = 0;
  let asked = "";
  let chosen = -1;
  let suggestions = [];

  const KINDS = { category: "department", item: "product" };

  const close = () => {
    list.hidden = true;
    chosen = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };

  const mark = (place) => {
    chosen = place;
    [...list.children].forEach((row, n) => row.setAttribute("aria-selected", String(n === place)));
    if (place < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", list.children[place].id);
  };

  const take = (suggestion) => {
    if (suggestion.url) {
      window.location.assign(suggestion.url);
    } else {
      input.value = suggestion.text;
      input.form.requestSubmit();
    }
  };

  const show = () => {
    list.replaceChildren(...suggestions.map((suggestion, n) => {
      const row = document.createElement("div");
      row.id = `suggestion-${n}`;
      row.className = "suggestion";
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", "false");
      const text = document.createElement("span");
      text.textContent = suggestion.text;
      row.append(text);
      if (KINDS[suggestion.kind]) {
        const kind = document.createElement("small");
        kind.textContent = KINDS[suggestion.kind];
        row.append(kind);
      }
      row.addEventListener("pointerdown", (event) => event.preventDefault());
      row.addEventListener("click", () => take(suggestion));
      return row;
    }));
    list.hidden = suggestions.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    mark(-1);
  };

  const ask = async () => {
    const query = input.value.trim();
    asked = query;
    if (query.length < 2) return close();
    try {
      const answer = await fetch(`${input.dataset.suggest}?q=${encodeURIComponent(query)}`, {
        headers: { Accept: "application/json" },
      });
      if (!answer.ok || asked !== query) return;
      suggestions = (await answer.json()).suggestions.slice(0, 8);
      if (document.activeElement === input) show();
    } catch {
      close();
    }
  };

  input.addEventListener("input", () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(ask, WAIT_MS);
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const n = suggestions.length;
    if (event.key === "ArrowDown") mark(chosen + 1 >= n ? -1 : chosen + 1);
    else if (event.key === "ArrowUp") mark(chosen < 0 ? n - 1 : chosen - 1);
    else if (event.key === "Escape") close();
    else if (event.key === "Enter" && chosen >= 0) take(suggestions[chosen]);
    else return;
    if (event.key !== "Tab") event.preventDefault();
  });
})();
