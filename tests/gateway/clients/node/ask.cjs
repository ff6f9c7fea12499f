// Asks everything that a test wants to know, with the SDK that is named, and writes it as one JSON object.
//
//     node ask.cjs FOLDER SDK URL      FOLDER has the node_modules

"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");

const [folder, sdk, url] = process.argv.slice(2);
const load = createRequire(path.join(path.resolve(folder), "package.json"));

const HELLO = [{ role: "user", content: "Hello you" }];
const ASK_FOR_TOOL = [{ role: "user", content: "use a tool" }];
const PARAMETERS = { type: "object", properties: { at: { type: "string" } }, required: ["at"] };
const RETRIED = "status=429, retry-after=0, times=1";
const SLOW = "stall=20, output=90";

const simulate = (knobs) => ({ headers: { "x-simulate": knobs } });
const told = (response) => ({
  id: response.headers.get("x-taximeter-call-id"),
  cost: response.headers.get("x-taximeter-cost-usd"),
});

async function all(stream) {
  const out = [];
  for await (const each of await stream) out.push(each);
  return out;
}

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return { name: error.constructor.name, status: error.status, message: error.message };
  }
  throw new Error("nothing was thrown");
}

async function left(stream, chunks) {
  const it = await stream;
  for await (const _ of it) if (--chunks === 0) break;
  return "left";
}

async function openai() {
  const OpenAI = load("openai").default;
  const client = new OpenAI({ baseURL: url, apiKey: "k", maxRetries: 2 });
  const chat = (more, options) => client.chat.completions.create({ model: "gpt-4o", messages: HELLO, ...more }, options);
  const tools = [{ type: "function", function: { name: "look", parameters: PARAMETERS } }];
  const { data: whole, response } = await chat({}).withResponse();
  const asked = await chat({ messages: ASK_FOR_TOOL, tools });
  const message = asked.choices[0].message;
  const results = message.tool_calls.map((each) => ({ role: "tool", tool_call_id: each.id, content: "42" }));
  return {
    whole,
    told: told(response),
    asking: await all(chat({ stream: true, stream_options: { include_usage: true } })),
    stream: await all(chat({ stream: true })),
    asked,
    answered: await chat({ messages: [...ASK_FOR_TOOL, message, ...results], tools }),
    embedding: await client.embeddings.create({ model: "text-embedding-3-small", input: "a river", encoding_format: "float" }),
    response: await client.responses.create({ model: "gpt-4o", input: "Hello you" }),
    events: await all(client.responses.create({ model: "gpt-4o", input: "Hello you", stream: true })),
    error: await failure(chat({}, simulate("status=400"))),
    retried: await chat({ messages: [{ role: "user", content: `again by ${url}` }] }, simulate(RETRIED)),
    left: await left(chat({ stream: true }, simulate(SLOW)), 3),
  };
}

async function anthropic() {
  const Anthropic = load("@anthropic-ai/sdk").default;
  const client = new Anthropic({ baseURL: url, apiKey: "k", maxRetries: 2 });
  const ask = (more, options) =>
    client.messages.create({ model: "claude-haiku-4-5", max_tokens: 99, messages: HELLO, ...more }, options);
  const tools = [{ name: "look", input_schema: PARAMETERS }];
  const { data: whole, response } = await ask({}).withResponse();
  const asked = await ask({ messages: ASK_FOR_TOOL, tools });
  const used = asked.content.filter((each) => each.type === "tool_use");
  const results = used.map((each) => ({ type: "tool_result", tool_use_id: each.id, content: "42" }));
  const said = [...ASK_FOR_TOOL, { role: "assistant", content: asked.content }, { role: "user", content: results }];
  return {
    whole,
    told: told(response),
    stream: await all(ask({ stream: true })),
    asked,
    answered: await ask({ messages: said, tools }),
    error: await failure(ask({}, simulate("status=400"))),
    retried: await ask({ messages: [{ role: "user", content: `again by ${url}` }] }, simulate(RETRIED)),
    left: await left(ask({ stream: true }, simulate(SLOW)), 3),
  };
}

async function google() {
  const { GoogleGenAI } = load("@google/genai");
  const client = (headers) => new GoogleGenAI({ apiKey: "k", httpOptions: { baseUrl: url, headers } }).models;
  const asked = { model: "gemini-2.5-flash", contents: "Hello you" };
  const tools = { tools: [{ functionDeclarations: [{ name: "look", parametersJsonSchema: PARAMETERS }] }] };
  const whole = await client().generateContent(asked);
  const headers = new Headers(whole.sdkHttpResponse.headers);
  const plain = (answer) => ({ ...answer, sdkHttpResponse: null });
  const calling = await client().generateContent({ ...asked, contents: "use a tool", config: tools });
  const content = calling.candidates[0].content;
  const results = content.parts
    .filter((each) => each.functionCall)
    .map((each) => ({ functionResponse: { name: each.functionCall.name, response: { found: "42" } } }));
  const said = [{ role: "user", parts: [{ text: "use a tool" }] }, content, { role: "user", parts: results }];
  return {
    whole: plain(whole),
    told: told({ headers }),
    stream: (await all(client().generateContentStream(asked))).map(plain),
    asked: plain(calling),
    answered: plain(await client().generateContent({ ...asked, contents: said, config: tools })),
    error: await failure(client({ "x-simulate": "status=400" }).generateContent(asked)),
    left: await left(client({ "x-simulate": SLOW }).generateContentStream(asked), 2),
  };
}

({ openai, anthropic, google })[sdk]().then(
  // what was left may keep the process: not every SDK hangs up
  (found) => process.stdout.write(JSON.stringify(found), () => process.exit(0)),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exitCode = 1;
  },
);
