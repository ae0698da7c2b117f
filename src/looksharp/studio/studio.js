// Keys, dialogs and what needs no answer of the server.
(() => {
  const off = "looksharp-keys-off";
  window.looksharpKeys = localStorage.getItem(off) === null;

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-opens], [data-closes]");
    if (!button) return;
    const { opens, closes } = button.dataset;
    const dialog = document.getElementById(opens ?? closes);
    if (!opens) return dialog.close();
    const box = dialog.querySelector("#single-keys");
    if (box) box.checked = window.looksharpKeys;
    dialog.showModal();
  });

  document.addEventListener("change", (event) => {
    if (event.target.id !== "single-keys") return;
    window.looksharpKeys = event.target.checked;
    if (event.target.checked) localStorage.removeItem(off);
    else localStorage.setItem(off, "1");
  });

  document.addEventListener("keydown", (event) => {
    if (!window.looksharpKeys || event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    const typing = "input:not([type=checkbox], [type=radio], [type=range]), select, textarea, [contenteditable]";
    if (event.target.closest?.("dialog") || (event.key !== "Escape" && event.target.closest?.(typing))) return;
    if (event.key === "?") return document.querySelector("[data-opens=keys]")?.click();
    document.querySelector(`[data-key="${CSS.escape(event.key)}"]:not([disabled])`)?.click();
  });
})();

// The opacity of maps follows its slider.
document.addEventListener("input", (event) => {
  if (event.target.dataset?.opacity) document.documentElement.style.setProperty("--opacity", event.target.value / 100);
});
