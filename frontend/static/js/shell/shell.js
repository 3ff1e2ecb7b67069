// On every page: closing notices, menus that close like menus, and errors of htmx that never reached the server.
import { toast } from "./toasts.js";

document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  target.closest("[data-dismiss]")?.closest(".notice")?.remove();
  target.closest("[data-close]")?.closest("dialog")?.close();
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(target)) menu.removeAttribute("open");
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.menu[open]");
  menu?.removeAttribute("open");
  menu?.querySelector("summary")?.focus();
});

document.addEventListener("htmx:sendError", () =>
  toast("The server cannot be reached. Nothing was changed; try again in a moment.", "bad"),
);
