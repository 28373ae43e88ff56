// The queue by keyboard: j and k, or the arrows, move; Enter opens, as every link does.
"use strict";

(() => {
  const rows = () => [...document.querySelectorAll(".queue .row")];
  let chosen = "";
  let position = 0;

  // The letter that is written on a key, whatever alphabet the keyboard is set to.
  function keyOf(event) {
    if (event.code.startsWith("Digit")) return event.code.slice(5);
    if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
    if (event.code.startsWith("Key")) return event.code.slice(3).toLowerCase();
    return event.key === "؟" ? "?" : event.key;
  }

  function mark(row) {
    for (const other of rows()) other.classList.toggle("chosen", other === row);
    if (!row) return;
    chosen = row.dataset.key;
    position = rows().indexOf(row);
  }

  function choose(row) {
    if (!row) return;
    mark(row);
    row.querySelector(".open").focus();
    row.scrollIntoView({ block: "nearest" });
  }

  function move(by) {
    const all = rows();
    const at = all.findIndex((row) => row.dataset.key === chosen);
    choose(all[Math.min(Math.max(at < 0 ? 0 : at + by, 0), all.length - 1)]);
  }

  document.addEventListener("focusin", (event) => {
    const row = event.target.closest(".queue .row");
    if (row) mark(row);
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input, select, textarea, dialog")) return;
    const key = keyOf(event);
    const steps = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, Home: -1e6, End: 1e6 };
    if (!(key in steps) || !rows().length) return;
    event.preventDefault();
    move(steps[key]);
  });

  // What was chosen stays so; if it has left the queue, the next one takes its turn.
  document.addEventListener("shown", () => {
    const all = rows();
    const kept = all.find((row) => row.dataset.key === chosen);
    if (!chosen || !all.length) return;
    const focusLost = document.activeElement === document.body;
    const row = kept || all[Math.min(position, all.length - 1)];
    if (focusLost) choose(row);
    else mark(row);
  });
})();
