// Switches of clients. DQM² may say Ok although nothing changed, so a switch is pending until its state was read
// back, a few times if necessary, and then shows what DQM² reports.

const READ_DELAYS_MS = [1000, 4000, 10_000];
const SWITCH = "button[role=switch]";
const NO_EFFECT = new Set(["refused", "denied", "not sent"]);

const token = document.querySelector('meta[name="csrf-token"]').content;

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  const sent = detail.requestConfig?.elt;
  if (sent?.dataset.command !== "change_dqm_client") return;
  const outcome = detail.target.querySelector("[data-outcome]")?.dataset.outcome;
  const form = detail.target.closest("li")?.querySelector(`form:has(> ${SWITCH})`);
  if (form && outcome && !NO_EFFECT.has(outcome)) confirmState(form, new FormData(sent).get("state") === "1", detail.target);
});

async function confirmState(form, wanted, output) {
  setPending(form);
  let current = null;
  for (const delay of READ_DELAYS_MS) {
    await new Promise((resolve) => setTimeout(resolve, delay));
    if (!form.isConnected) return;
    current = (await readSwitch(form)) ?? current;
    if (current && isOn(current) === wanted) break;
  }
  if (form.isConnected) show(form, current, wanted, output);
}

// The button is disabled later than htmx, which enables that of a finished command.
function setPending(form) {
  form.dataset.pending = "";
  setTimeout(() => {
    form.querySelector(SWITCH).disabled = true;
  });
}

/** Reads the machine's clients; returns the form of the same client, `null` if that is not known or not listed. */
async function readSwitch(form) {
  const fields = new FormData(form);
  const body = new URLSearchParams({ what: "get_dqm_clients", host: fields.get("host"), playback: fields.get("playback") });
  const headers = { "HX-Request": "true", "X-CSRF-Token": token };
  const response = await fetch(form.getAttribute("hx-post"), { method: "POST", body, headers }).catch(() => null);
  const html = response?.ok ? await response.text().catch(() => null) : null;
  if (html === null) return null;
  const page = new DOMParser().parseFromString(html, "text/html");
  const input = page.querySelector(`input[name=client][value="${CSS.escape(fields.get("client"))}"]`);
  return input?.form ?? null;
}

function show(form, current, wanted, output) {
  const client = form.querySelector("[name=client]").value;
  const state = current && isOn(current) ? "on" : "off";
  if (!current) {
    delete form.dataset.pending;
    form.querySelector(SWITCH).disabled = false;
    warn(output, `The state of ${client} could not be read.`);
  } else {
    replace(form, document.importNode(current, true));
    if (isOn(current) === wanted) output.querySelector(".result").append(` DQM² reports ${client} as ${state}.`);
    else warn(output, `DQM² still reports ${client} as ${state}.`);
  }
}

function replace(form, current) {
  const hadFocus = "hadFocus" in form.dataset && document.activeElement === document.body;
  form.replaceWith(current);
  htmx.process(current);
  if (hadFocus) current.querySelector(SWITCH).focus({ preventScroll: true });
}

function warn(output, message) {
  const paragraph = document.createElement("p");
  paragraph.className = "result result-unknown";
  paragraph.setAttribute("role", "status");
  paragraph.textContent = message;
  output.append(paragraph);
}

function isOn(form) {
  return form.querySelector(SWITCH).getAttribute("aria-checked") === "true";
}
