"use strict";
// Filters and permalinks; without it every row is there and opens.
const form = document.getElementById("filter");
const rows = [...document.querySelectorAll("tr[data-word]")];
const shown = (row, values) => ["profile", "paper", "notebook", "word", "evidence"].every(
  (name) => !values.get(name) || values.get(name) === row.dataset[name]
) && row.textContent.toLowerCase().includes(values.get("text").trim().toLowerCase());
const filter = () => {
  const values = new FormData(form);
  for (const row of rows) row.hidden = !shown(row, values);
  for (const part of document.querySelectorAll("main .scroll, main article, main section")) {
    const within = [...part.querySelectorAll("tr[data-word]")];
    part.hidden = within.length > 0 && within.every((row) => row.hidden);
  }
  form.querySelector("output").value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
};
const open = () => {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!row?.dataset.word) return;
  if (row.hidden) form.reset();
  row.querySelector("details").open = true;
  row.scrollIntoView();
};
form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("reset", () => setTimeout(filter));
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", open);
filter();
open();
