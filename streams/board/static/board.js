// The page of KPIs: what fires stands in its title, details are a dialog.
"use strict";

(() => {
  const title = document.title;

  // How many alerts fire, and the worst, are read in the list of windows, too.
  function tellTitle() {
    const worst = document.querySelector("#firing a");
    const wanted = worst ? `${worst.dataset.title} · ${title}` : title;
    if (document.title !== wanted) document.title = wanted;
  }

  // -- the details of a KPI in a dialog ---------------------------------------------------------------------------

  const dialog = document.getElementById("dialog");
  const detail = document.getElementById("detail");
  let opener = "";

  function showDetail() {
    const wanted = new URLSearchParams(location.search).has("kpi") && detail.childElementCount > 0;
    if (wanted && !dialog.matches(":modal")) {
      dialog.close();
      dialog.showModal();
      document.getElementById("close").focus();
    } else if (!wanted && dialog.open) {
      dialog.close();
      const tile = document.querySelector(`[data-kpi="${opener}"]`);
      if (tile) tile.focus();
    }
  }

  document.addEventListener("click", (event) => {
    const tile = event.target.closest("a[data-kpi]");
    if (tile) opener = tile.dataset.kpi;
  });
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    document.getElementById("close").click();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) document.getElementById("close").click();
  });

  function look() {
    tellTitle();
    showDetail();
  }

  document.addEventListener("shown", look);
  look();
})();
