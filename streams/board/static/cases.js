// The queue and a case by keyboard: j and k, or the arrows, move; Enter opens, as every link does; letters act.
"use strict";

(() => {
  const data = document.body.dataset;
  const said = document.querySelector("#said p");
  const refusals = document.querySelector("#said ul");
  const rows = () => [...document.querySelectorAll(".queue .row")];
  let chosen = "";
  let position = 0;
  document.documentElement.classList.add("live");

  // The letter that is written on a key, whatever alphabet the keyboard is set to.
  function keyOf(event) {
    if (/^(Digit|Numpad)[0-9]$/.test(event.code)) return event.code.slice(-1);
    if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
    if (event.key === "؟" || event.key === "?") return "?";
    return event.code.startsWith("Key") ? event.code.slice(3).toLowerCase() : event.key;
  }

  // -- choosing a case --------------------------------------------------------------------------------------------

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

  // Beyond what is on its way already; after the last one, the one before.
  function moveOn(from) {
    const all = rows();
    const at = all.indexOf(from);
    const free = (row) => row !== from && !pending.has(row.dataset.key);
    choose(all.slice(at + 1).find(free) || all.slice(0, at).reverse().find(free));
  }

  function current() {
    const within = document.activeElement && document.activeElement.closest(".row[data-key]");
    return within || document.querySelector("#case .row[data-key]") || rows().find((row) => row.dataset.key === chosen);
  }

  document.addEventListener("focusin", (event) => {
    const row = event.target.closest(".queue .row");
    if (row) mark(row);
  });

  // -- acting -----------------------------------------------------------------------------------------------------

  const pending = new Map();
  const versions = new Map();

  // What was done makes room for the next; what was refused stays until Escape.
  function tell(text, refused) {
    if (refused) {
      const line = document.createElement("li");
      line.textContent = text;
      refusals.append(line);
    }
    said.textContent = refused ? "" : text;
    said.hidden = refused || !text;
  }

  function showPending() {
    for (const row of document.querySelectorAll(".row[data-key]")) {
      const busy = pending.has(row.dataset.key);
      row.classList.toggle("pending", busy);
      row.setAttribute("aria-busy", busy);
    }
  }

  async function send(row, fields) {
    // What was done a moment ago may not be shown yet; this rests on it all the same.
    const version = Math.max(Number(row.version), versions.get(row.key) || 0);
    let answer;
    try {
      answer = await fetch(row.href, {
        method: "POST",
        headers: { Accept: "application/json" },
        body: new URLSearchParams({ ...fields, version }),
      });
    } catch {
      tell(`${row.name}: ${data.unsent}`, true);
      return;
    }
    if (answer.status === 401) {
      location.assign(document.getElementById("sign-in")?.href || `/sign-in?lang=${document.documentElement.lang}`);
      return;
    }
    const found = await answer.json();
    if (found.version) versions.set(row.key, found.version);
    tell(`${row.name}: ${found.says}`, !answer.ok);
  }

  // One action on a case after the other, each on what the one before has made of it.
  async function act(row, fields) {
    if (!data.writes) {
      tell(data.off, true);
      return;
    }
    if (!data.by) {
      location.assign(document.getElementById("sign-in").href);
      return;
    }
    const about = { ...row.dataset };
    const before = pending.get(about.key);
    const mine = (before || Promise.resolve()).then(() => send(about, fields));
    pending.set(about.key, mine);
    showPending();
    tell(`${about.name}: ${data.sending}`, false);
    await mine;
    if (pending.get(about.key) === mine) pending.delete(about.key);
    showPending();
  }

  const ask = {
    closed: document.getElementById("close-ask"),
    assigned: document.getElementById("assign-ask"),
    help: document.getElementById("help"),
  };

  let then = null;

  // Opens a dialog about a case; `done` is called with what was chosen, if something was.
  function open(dialog, row, done) {
    const whom = dialog.querySelector(".whom");
    if (whom) whom.textContent = row.dataset.name;
    then = done;
    dialog.showModal();
  }

  // At once, not when the browser says that the dialog is closed: the next key may come before that.
  function finish(dialog, value) {
    const done = then;
    then = null;
    dialog.close();
    if (value && done) done(value);
  }

  function start(what, row) {
    if (what in ask && data.writes && data.by) {
      const key = row.dataset.key;
      open(ask[what], row, (value) => {
        // The queue may have been renewed meanwhile.
        const here = document.querySelector(`.row[data-key="${CSS.escape(key)}"]`) || row;
        if (what === "closed") {
          act(here, { do: what, outcome: value });
          if (here.closest(".queue")) moveOn(here);
        } else {
          act(here, { do: what, owner: document.getElementById("new-owner").value });
        }
      });
      if (what === "assigned") document.getElementById("new-owner").select();
    } else if (what === "not_reached") {
      act(row, { do: "contacted", reached: "0" });
    } else {
      act(row, { do: what });
    }
  }

  document.addEventListener("submit", (event) => {
    if (!event.target.matches(".acts") || !event.submitter) return;
    event.preventDefault();
    start(event.submitter.value, event.target.closest(".row"));
  });

  for (const dialog of Object.values(ask)) {
    dialog.addEventListener("submit", (event) => {
      event.preventDefault();
      finish(dialog, event.submitter.value);
    });
  }
  ask.closed.addEventListener("keydown", (event) => {
    const key = keyOf(event);
    const buttons = [...ask.closed.querySelectorAll("[data-letter]")];
    const button = buttons[Number(key) - 1] || buttons.find((one) => one.dataset.letter === key);
    if (!button || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    finish(ask.closed, button.value);
  });

  document.getElementById("keys").addEventListener("click", () => open(ask.help, null, null));

  // -- the keyboard -----------------------------------------------------------------------------------------------

  const steps = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, Home: -1e6, End: 1e6 };
  const deeds = { a: "assigned", c: "contacted", n: "not_reached", x: "closed", o: "reopened", h: "held" };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input, select, textarea, dialog")) return;
    const key = keyOf(event);
    const row = current();
    if (key === "?") open(ask.help, null, null);
    else if (key in steps && rows().length) move(steps[key]);
    else if (key === "q" && document.getElementById("back")) document.getElementById("back").click();
    else if (key === "Escape" && (refusals.childElementCount || !said.hidden)) {
      refusals.replaceChildren();
      tell("", false);
    } else if (key in deeds && row) start(key === "h" && row.dataset.state === "waiting" ? "resumed" : deeds[key], row);
    else return;
    event.preventDefault();
  });

  // What was chosen stays so; if it has left the queue, the next one takes its turn.
  document.addEventListener("shown", () => {
    showPending();
    const all = rows();
    if (!chosen || !all.length) return;
    const row = all.find((one) => one.dataset.key === chosen) || all[Math.min(position, all.length - 1)];
    if (document.activeElement === document.body) choose(row);
    else mark(row);
  });
})();
