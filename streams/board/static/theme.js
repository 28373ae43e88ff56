// Before the first paint, so that nobody is dazzled: the chosen colours, else the device's.
"use strict";
document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";
