// Pages are complete without this file; with it, they stay up to date, and choosing costs no reload.
"use strict";

(() => {
  const root = document.documentElement;
  const persian = root.lang === "fa";
  const locale = persian ? "fa-IR-u-ca-persian-nu-arabext" : "en-GB";
  const forms = {
    time: new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" }),
    axis: new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" }),
    day: new Intl.DateTimeFormat(locale, { day: "numeric", month: "short" }),
    date: new Intl.DateTimeFormat(locale, {
      weekday: "short", year: "numeric", month: "short", day: "numeric", timeZone: document.body.dataset.zone,
    }),
    monthday: new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", timeZone: document.body.dataset.zone }),
    moment: new Intl.DateTimeFormat(locale, {
      year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
    }),
  };
  const relative = new Intl.RelativeTimeFormat(persian ? "fa-IR" : "en-GB", { numeric: "always", style: "narrow" });

  // Today's times are told as times; anything else needs its date.
  function told(moment, form) {
    if (form === "ago") {
      const seconds = Math.max(0, Math.round((Date.now() - moment) / 1000));
      if (seconds < 90) return relative.format(-seconds, "second");
      if (seconds < 5400) return relative.format(-Math.round(seconds / 60), "minute");
      if (seconds < 129600) return relative.format(-Math.round(seconds / 3600), "hour");
      return forms.moment.format(moment);
    }
    if (form === "due") {
      // A moment to come, or one that has passed.
      const minutes = Math.round((moment - Date.now()) / 60000);
      if (Math.abs(minutes) < 120) return relative.format(minutes, "minute");
      if (Math.abs(minutes) < 4320) return relative.format(Math.round(minutes / 60), "hour");
      return relative.format(Math.round(minutes / 1440), "day");
    }
    // The end of a minute that is not over yet is a moment to come.
    if (form === "open") return moment > Date.now() - 5000 ? document.body.dataset.now : told(moment, "time");
    if (form === "time" && Math.abs(Date.now() - moment) > 64800000) return forms.moment.format(moment);
    return forms[form].format(moment);
  }

  function tellTimes(within) {
    for (const element of within.querySelectorAll("[data-form]")) {
      const text = told(Date.parse(element.getAttribute("datetime") || element.dataset.time), element.dataset.form);
      if (element.textContent !== text) element.textContent = text;
    }
  }

  // Make `from` equal to `to` without touching what is equal: focus, scroll positions and selections stay.
  function morph(from, to) {
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) {
      from.replaceWith(to);
      return;
    }
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    for (const { name } of [...from.attributes]) {
      // What the reader has opened stays open.
      if (!to.hasAttribute(name) && !(name === "open" && from.nodeName === "DETAILS")) from.removeAttribute(name);
    }
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    if (from.nodeName === "SELECT") {
      // Options that move into a list change what is chosen there: the page says what it is.
      const chosen = to.querySelector("option[selected]");
      const value = document.activeElement === from || !chosen ? from.value : chosen.value;
      morphChildren(from, to);
      from.value = value;
      return;
    }
    morphChildren(from, to);
  }

  function morphChildren(from, to) {
    const known = new Map();
    for (const child of from.children) if (child.dataset.key) known.set(child.dataset.key, child);
    let at = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      const key = wanted.dataset && wanted.dataset.key;
      const kept = key && known.get(key);
      if (kept && kept !== at) from.insertBefore(kept, at);
      else if (key && !kept) {
        if (from.dataset.seen) wanted.classList.add("fresh");
        from.insertBefore(wanted, at);
        continue;
      } else if (!at) {
        from.appendChild(wanted);
        continue;
      }
      const here = kept || at;
      at = here.nextSibling;
      morph(here, wanted);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
    if (known.size) from.dataset.seen = "1";
  }

  function show(parts) {
    for (const [id, text] of Object.entries(parts)) {
      const place = document.getElementById(id);
      if (!place) continue;
      const made = document.createElement("template");
      made.innerHTML = text;
      const wanted = place.cloneNode(false);
      wanted.append(made.content);
      tellTimes(wanted);
      morphChildren(place, wanted);
    }
    document.dispatchEvent(new Event("shown"));
  }

  // -- choosing ---------------------------------------------------------------------------------------------------

  const streams = document.body.dataset.stream.split("?")[0];

  function go(address) {
    history.pushState(null, "", address);
    listen(streams + new URL(address, location.href).search);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (link.hasAttribute("data-lang")) {
      const query = new URLSearchParams(location.search);
      query.set("lang", link.hreflang);
      event.preventDefault();
      location.assign(location.pathname + "?" + query);
    } else if (link.hasAttribute("data-nav")) {
      event.preventDefault();
      go(link.getAttribute("href"));
    }
  });
  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (form && form.hasAttribute("data-choose")) {
      const query = new URLSearchParams(location.search);
      query.set(event.target.name, event.target.value);
      go(location.pathname + "?" + query);
    }
  });
  window.addEventListener("popstate", () => listen(streams + location.search));

  // -- listening --------------------------------------------------------------------------------------------------

  const lost = document.getElementById("lost");
  let stream = null;
  let complaint = 0;

  function listen(address) {
    if (stream) stream.close();
    stream = new EventSource(address);
    stream.addEventListener("parts", (event) => show(JSON.parse(event.data)));
    stream.onopen = () => {
      clearTimeout(complaint);
      complaint = 0;
      lost.hidden = true;
      root.classList.remove("lost");
    };
    stream.onerror = () => {
      // A short break, as when the server is made anew, is not shown.
      complaint = complaint || setTimeout(() => {
        lost.textContent = document.body.dataset.away;
        lost.hidden = false;
        root.classList.add("lost");
      }, 3000);
      if (stream.readyState === EventSource.CLOSED) setTimeout(() => listen(streams + location.search), 3000);
    };
  }

  // -- colours ----------------------------------------------------------------------------------------------------

  const theme = document.getElementById("theme");
  theme.value = root.dataset.theme;
  theme.addEventListener("change", () => {
    root.dataset.theme = theme.value;
    localStorage.setItem("theme", theme.value);
  });

  for (const list of document.querySelectorAll(".list")) list.dataset.seen = "1";
  tellTimes(document);
  setInterval(() => tellTimes(document), 1000);
  listen(document.body.dataset.stream);
})();
