// What was asked: the messages in chat form, the passages that were given, what the campaign asks of people.

const ROLES = { user: "User", assistant: "Assistant", system: "System", tool: "Tool" };

/**
 * @param {HTMLElement} root
 * @param {{ role: string, content: string }[]} messages
 */
export function showMessages(root, messages) {
  root.replaceChildren(
    ...messages.map(({ role, content }) => {
      const message = document.createElement("div");
      message.className = `message ${role}`;
      const who = document.createElement("h3");
      who.textContent = ROLES[/** @type {keyof typeof ROLES} */ (role)] ?? role;
      const words = document.createElement("div");
      words.className = "words";
      words.dir = "auto";
      words.textContent = typeof content === "string" ? content : JSON.stringify(content, null, 1);
      message.append(who, words);
      return message;
    }),
  );
}

/**
 * @param {HTMLDetailsElement} root with [data-passages] and [data-count]
 * @param {{ id: string, title: string, text: string }[]} passages
 */
export function showPassages(root, passages) {
  root.hidden = !passages.length;
  const count = root.querySelector("[data-count]");
  if (count) count.textContent = String(passages.length);
  root.querySelector("[data-passages]")?.replaceChildren(
    ...passages.map(({ title, text }, index) => {
      const passage = document.createElement("section");
      const heading = document.createElement("h3");
      heading.dir = "auto";
      heading.textContent = title || `Passage ${index + 1}`;
      const words = document.createElement("p");
      words.dir = "auto";
      words.className = "words";
      words.textContent = text;
      passage.append(heading, words);
      return passage;
    }),
  );
}

/**
 * @param {HTMLElement} root with [data-text]; hidden where there is nothing to say
 * @param {string} text
 */
export function showGuidelines(root, text) {
  root.hidden = !text;
  const words = root.querySelector("[data-text]");
  if (words) words.textContent = text;
}
