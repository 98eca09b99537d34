// Finding a call among many: what doesn't hold every word typed is hidden. Without the script all of them are there.
"use strict";

const field = document.getElementById("find");

function show() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const call of document.querySelectorAll("article[data-call]")) {
    const fits = words.every((word) => call.dataset.words.includes(word));
    count += fits;
    for (const each of document.querySelectorAll(`[data-call="${CSS.escape(call.dataset.call)}"]`)) each.hidden = !fits;
  }
  for (const group of document.querySelectorAll("[data-group]")) {
    group.hidden = !group.querySelector("[data-call]:not([hidden])");
  }
  document.getElementById("found").textContent =
    words.length ? (count === 1 ? "1 call" : `${count} calls`) : "";
}

field.addEventListener("input", show);

// A call that was asked for by its address is shown whatever stands in the field.
window.addEventListener("hashchange", () => {
  const call = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (call && call.closest("[hidden]")) {
    field.value = "";
    show();
    call.scrollIntoView();
  }
});
if (field.value) show();
