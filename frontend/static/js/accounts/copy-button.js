// A button that copies a field: <button data-copy="ID OF THE FIELD">, and [data-copied] beside it says that it did.

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const field = /** @type {HTMLInputElement} */ (document.getElementById(button.dataset.copy));
    const status = button.parentElement?.querySelector("[data-copied]");
    try {
      await navigator.clipboard.writeText(field.value);
      if (status) status.textContent = "Copied.";
    } catch {
      // no clipboard without HTTPS, except on localhost: select it, so that the keys can copy it
      field.focus();
      field.select();
      if (status) status.textContent = "Selected: copy it with Ctrl-C or ⌘C.";
    }
  });
}
