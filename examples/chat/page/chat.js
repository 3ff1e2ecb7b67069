// The page of the chat. All that it does for Redpen is `attach`, once an answer.

const { endpoint, key, model } = await (await fetch("settings")).json();
const { attach } = await import(`${endpoint}/static/client/redpen-widget.js`);

const talk = document.querySelector("#talk");
const question = document.querySelector("#question");
const conversation = crypto.randomUUID();
const user = (localStorage["chat:user"] ??= `chat-${crypto.randomUUID()}`); // a pseudonym
const messages = [];
document.querySelector("#model").textContent = model;

document.querySelector("#ask").onsubmit = (event) => {
  event.preventDefault();
  const content = question.value.trim();
  if (!content) return;
  question.value = "";
  messages.push({ role: "user", content });
  talk.append(element("p", "question", content));
  answer(messages.slice());
};

/** @param {{role: string, content: string}[]} asked @param {string} [parent] the answer that the new one replaces */
async function answer(asked, parent) {
  const article = element("article");
  const text = element("p", "answer", "…");
  article.append(text);
  talk.append(article);
  const reply = await fetch("chat", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ messages: asked, user, conversation, parent }),
  }).catch(() => null);
  if (!reply?.ok) {
    text.textContent = reply ? (await reply.json()).error : "The chat cannot be reached.";
    return;
  }
  const said = await reply.json();
  text.textContent = said.text;
  if (parent) messages.pop();
  messages.push({ role: "assistant", content: said.text });
  attach(text, { endpoint, key, user, response: said.id });
  const again = element("button", "", "Another answer");
  again.type = "button";
  again.onclick = () => {
    again.remove();
    answer(asked, said.id);
  };
  article.append(again);
}

function element(tag, name = "", text = "") {
  const one = document.createElement(tag);
  one.className = name;
  one.textContent = text;
  return one;
}
