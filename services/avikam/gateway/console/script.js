"use strict";

const WORDS = {
  en: {
    model: "Model", conversation: "Conversation", settings: "Settings", system: "System", temperature: "Temperature",
    top_p: "Top p", max_tokens: "Most tokens", seed: "Seed", colour: "Show unlikely tokens", prompt: "Your message",
    send: "Send", stop: "Stop", clear: "New conversation", copy: "Copy as curl", language: "Français",
    copied: "Copied.", stopped: "stopped", broken: "The answer broke off.", unreachable: "The gateway does not answer.",
    load: (i) => `Workers: ${i.workers_ready} · running: ${i.requests_running} · waiting: ${i.requests_waiting}`,
    figures: (f) => `${f.tokens} tokens · first after ${f.first} ms · ${f.rate} tokens/s`,
  },
  fr: {
    model: "Modèle", conversation: "Conversation", settings: "Réglages", system: "Système", temperature: "Température",
    top_p: "Top p", max_tokens: "Jetons au plus", seed: "Graine", colour: "Montrer les jetons peu probables",
    prompt: "Votre message", send: "Envoyer", stop: "Arrêter", clear: "Nouvelle conversation", copy: "Copier en curl",
    language: "English", copied: "Copié.", stopped: "arrêté", broken: "La réponse s'est interrompue.",
    unreachable: "La passerelle ne répond pas.",
    load: (i) => `Workers : ${i.workers_ready} · en cours : ${i.requests_running} · en attente : ${i.requests_waiting}`,
    figures: (f) => `${f.tokens} jetons · premier après ${f.first} ms · ${f.rate} jetons/s`,
  },
};

// The page is at the API's root, wherever a proxy has put that.
const ROOT = location.origin + location.pathname.replace(/\/*$/, "/");
const api = (path) => new URL(path, ROOT);
const at = (id) => document.getElementById(id);
const turns = [];
let language = navigator.language.startsWith("fr") ? "fr" : "en";
let running = null;

function speak() {
  document.documentElement.lang = language;
  for (const place of document.querySelectorAll("[data-word]")) place.textContent = WORDS[language][place.dataset.word];
  for (const place of document.querySelectorAll("[data-label]")) place.ariaLabel = WORDS[language][place.dataset.label];
  at("language").textContent = WORDS[language].language;
  at("language").lang = language === "fr" ? "en" : "fr";
}

function complain(message) {
  at("problem").textContent = message;
  at("problem").hidden = !message;
}

function request() {
  const body = { messages: [...turns], stream: true, stream_options: { include_usage: true } };
  if (at("model").value) body.model = at("model").value;
  if (at("system").value) body.messages.unshift({ role: "system", content: at("system").value });
  for (const name of ["temperature", "top_p", "max_tokens", "seed"])
    if (at(name).value !== "") body[name] = Number(at(name).value);
  if (at("colour").checked) body.logprobs = true;
  return body;
}

function show(role, text) {
  const item = document.createElement("li");
  item.className = role;
  item.append(text);
  at("log").append(item);
  item.scrollIntoView({ block: "end" });
  return item;
}

function likelihood(logprob) {
  const chance = Math.exp(logprob);
  return chance > 0.5 ? "p0" : chance > 0.2 ? "p1" : chance > 0.05 ? "p2" : "p3";
}

/** Reads an answer's tokens, frame after frame, as pieces of whole characters: one may need several tokens. */
function pieceReader() {
  const decoder = new TextDecoder();
  let logprob = 0;
  return (tokens) => {
    const pieces = [];
    for (const token of tokens ?? []) {
      logprob += token.logprob;
      const text = decoder.decode(new Uint8Array(token.bytes), { stream: true });
      if (text === "") continue;
      pieces.push({ text, logprob });
      logprob = 0;
    }
    return pieces;
  };
}

/** One part of an answer; its pieces apart where they are known and make exactly its text. */
function write(item, text, pieces) {
  const joined = pieces.map((piece) => piece.text).join("");
  if (pieces.length === 0 || !joined.endsWith(text)) return item.append(text);
  // A first token has a space before it that the text has not.
  let surplus = joined.length - text.length;
  for (const piece of pieces) {
    const span = document.createElement("span");
    span.className = likelihood(piece.logprob);
    span.title = `${(100 * Math.exp(piece.logprob)).toFixed(1)} %`;
    span.textContent = piece.text.slice(surplus);
    surplus = Math.max(surplus - piece.text.length, 0);
    item.append(span);
  }
}

/** The data of a stream's events, as they come. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (held + value).split("\n");
    held = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6);
  }
}

async function answer(item, signal) {
  const started = performance.now();
  const figures = { first: 0, tokens: 0, rate: 0 };
  const read = pieceReader();
  const reply = await fetch(api("v1/chat/completions"), {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(request()), signal,
  });
  if (!reply.ok) throw new Error((await reply.json()).error.message);
  for await (const data of events(reply.body)) {
    if (data === "[DONE]") return figures;
    const event = JSON.parse(data);
    if (event.error) throw new Error(event.error.message);
    const choice = event.choices[0];
    if (choice?.delta.content) {
      figures.first ||= Math.round(performance.now() - started);
      write(item, choice.delta.content, read(choice.logprobs?.content));
      item.scrollIntoView({ block: "end" });
    }
    if (event.usage) {
      figures.tokens = event.usage.completion_tokens;
      const after = performance.now() - started - figures.first;
      figures.rate = after > 0 ? Math.round((1000 * (figures.tokens - 1)) / after) : 0;
    }
  }
  throw new Error(WORDS[language].broken);
}

async function send() {
  turns.push({ role: "user", content: at("prompt").value });
  show("user", at("prompt").value);
  at("prompt").value = "";
  const item = show("assistant", "");
  const note = document.createElement("small");
  running = new AbortController();
  busy(true);
  try {
    note.textContent = WORDS[language].figures(await answer(item, running.signal));
  } catch (error) {
    note.textContent = WORDS[language].stopped;
    if (error.name !== "AbortError") complain(error.message);
  }
  const text = item.textContent;
  if (text) turns.push({ role: "assistant", content: text });
  else turns.pop();
  item.append(note);
  item.scrollIntoView({ block: "end" });
  running = null;
  busy(false);
}

function busy(is) {
  at("send").disabled = is;
  at("stop").disabled = !is;
  at("clear").disabled = is;
  at("log").ariaBusy = String(is);
  if (is) complain("");
  else at("prompt").focus();
}

function curl() {
  const body = request();
  if (at("prompt").value) body.messages.push({ role: "user", content: at("prompt").value });
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  return `curl -N ${api("v1/chat/completions")} -H 'content-type: application/json' -d '${quoted}'`;
}

async function look() {
  if (document.hidden) return;
  try {
    at("load").textContent = WORDS[language].load(await (await fetch(api("info"))).json());
  } catch {
    at("load").textContent = WORDS[language].unreachable;
  }
}

async function models() {
  const listed = await (await fetch(api("v1/models"))).json();
  at("model").replaceChildren(...listed.data.map((model) => new Option(model.id, model.id)));
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running && at("prompt").value.trim()) send();
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("form").requestSubmit();
});
document.addEventListener("keydown", (event) => event.key === "Escape" && running?.abort());
at("stop").addEventListener("click", () => running?.abort());
at("clear").addEventListener("click", () => {
  turns.length = 0;
  at("log").replaceChildren();
  complain("");
});
at("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(curl());
  at("told").textContent = WORDS[language].copied;
});
at("language").addEventListener("click", () => {
  language = language === "fr" ? "en" : "fr";
  speak();
  look();
});

speak();
look();
setInterval(look, 2000);
models().catch(() => complain(WORDS[language].unreachable));
