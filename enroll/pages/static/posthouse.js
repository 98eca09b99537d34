// What saves clicks: copy buttons, and verifying without loading the page again. Everything works without it.
"use strict";

document.documentElement.classList.add("script");

async function copy(button) {
  const text = button.parentElement.querySelector("code").textContent;
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Without a secure connection there is no clipboard: the text is marked, ready for the keyboard.
    const marked = document.createRange();
    marked.selectNodeContents(button.parentElement.querySelector("code"));
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(marked);
    button.textContent = document.execCommand && document.execCommand("copy") ? "Copied" : "Marked";
  }
  setTimeout(() => { button.textContent = before; }, 2000);
}

async function look(form) {
  const place = document.getElementById(form.dataset.live);
  const button = form.querySelector("button");
  button.disabled = true;
  button.textContent = "Asking DNS…";
  place.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, {
      method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "X-Fragment": form.dataset.live },
      redirect: "manual",
    });
    if (!answer.ok) throw new Error(answer.status);
    const was = document.querySelector("h1 .badge");
    const made = new DOMParser().parseFromString(await answer.text(), "text/html");
    const state = made.body.querySelector("[data-state]");
    place.replaceChildren(...made.body.childNodes);
    // With another state the rest of the page says other things too.
    if (state && was && !was.classList.contains(state.dataset.state)) location.reload();
    const again = place.querySelector("[data-live] button");
    if (again) again.focus();
  } catch {
    // The plain form gives the page with the reason.
    form.removeAttribute("data-live");
    form.submit();
  } finally {
    place.removeAttribute("aria-busy");
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});

document.addEventListener("submit", (event) => {
  if (event.target.matches("form[data-live]")) {
    event.preventDefault();
    look(event.target);
  }
});
