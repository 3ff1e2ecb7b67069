// Short messages in the corner. They stay until closed when something is wrong, else six seconds.

/**
 * @param {string} text
 * @param {"good" | "bad" | "warn" | ""} [kind]
 */
export function toast(text, kind = "") {
  const notice = document.createElement("div");
  notice.className = `notice ${kind}`;
  const words = document.createElement("p");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "small";
  close.dataset.dismiss = "";
  close.setAttribute("aria-label", "Close this message");
  close.textContent = "✕";
  notice.append(words, close);
  document.getElementById("toasts")?.append(notice);
  if (kind !== "bad") setTimeout(() => notice.remove(), 6000);
}
