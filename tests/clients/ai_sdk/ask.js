// The Vercel AI SDK, the strictest of clients: chat, completions and responses, whole and streamed.
import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const [base, name] = process.argv.slice(2);
const options = { baseURL: `${base}/v1`, apiKey: "none", name: "avikam" };
const compatible = createOpenAICompatible(options);
const openai = createOpenAI(options);
const models = [compatible(name), compatible.completionModel(name), openai(name), openai.chat(name)];

for (const model of models) {
  const ask = { model, prompt: "Bonjour", maxOutputTokens: 12, maxRetries: 0 };
  const whole = await generateText(ask);
  assert(whole.text, "no text");
  assert.strictEqual(whole.finishReason, "length");

  let failure;
  const stream = streamText({ ...ask, onError: ({ error }) => (failure = error) });
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  assert.strictEqual(failure, undefined);
  assert(text, "no streamed text");
  assert.strictEqual(await stream.finishReason, "length");
}
