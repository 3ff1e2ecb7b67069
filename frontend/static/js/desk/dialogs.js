// The dialogs with a reason: skip and report. A digit chooses the reason, Enter sends it, Esc closes.

/**
 * @param {HTMLFormElement} form of method "dialog", with radios named reason and a field named text
 * @param {(reason: string, text: string) => void} send
 */
export function askForReason(form, send) {
  form.addEventListener("submit", () => {
    const given = new FormData(form);
    send(String(given.get("reason")), String(given.get("text") ?? ""));
    form.reset();
  });
  form.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLTextAreaElement || !/^[1-9]$/.test(event.key)) return;
    const radios = /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("input[type=radio]"));
    const radio = radios[Number(event.key) - 1];
    if (radio) radio.checked = true;
    radio?.focus();
  });
}
