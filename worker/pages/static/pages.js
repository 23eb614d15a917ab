// What htmx does not do: answers that come piece by piece, and forms that show only what is meant.
"use strict";

// A button with data-pour sends its form, and shows each line of the answer as it arrives.
document.addEventListener("submit", async (event) => {
  const button = event.submitter;
  if (!button || !button.dataset.pour) return;
  event.preventDefault();
  const place = document.getElementById(button.dataset.pour);
  const given = new URLSearchParams(new FormData(event.target));
  button.disabled = true;
  place.setAttribute("aria-busy", "true");
  place.replaceChildren();
  try {
    await pour(await fetch(button.formAction, { method: "POST", body: given }), place);
  } catch {
    place.textContent = "The answer did not come: see that you are still connected, and try again.";
  } finally {
    button.disabled = false;
    place.removeAttribute("aria-busy");
  }
});

// Each line is a whole piece of markup, made and escaped by the server.
async function pour(answer, place) {
  if (answer.redirected) return location.assign(answer.url);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) place.insertAdjacentHTML("beforeend", line);
  }
  place.insertAdjacentHTML("beforeend", rest);
}

// A part of a form with data-when="field=value other" is there only while the field has one of these values.
function showWhatIsMeant() {
  for (const part of document.querySelectorAll("[data-when]")) {
    const [name, values] = part.dataset.when.split("=");
    const field = part.closest("form").elements[name];
    part.hidden = !values.split(" ").includes(field.value);
    part.disabled = part.hidden;
  }
}
document.addEventListener("change", showWhatIsMeant);
document.addEventListener("DOMContentLoaded", showWhatIsMeant);

// The forecast below the event types adds up those that are chosen.
document.addEventListener("change", (event) => {
  const forecast = document.getElementById("forecast");
  if (!forecast || event.target.name !== "event_types") return;
  let events = 0;
  let size = 0;
  for (const box of document.querySelectorAll("input[name=event_types]:checked")) {
    events += Number(box.dataset.events);
    size += Number(box.dataset.size);
  }
  forecast.querySelector("[data-sum=events]").textContent = events.toLocaleString("en");
  forecast.querySelector("[data-sum=size]").textContent = inBytes(size);
});

function inBytes(size) {
  for (const [unit, name] of [[2 ** 30, "GB"], [2 ** 20, "MB"], [2 ** 10, "KB"]]) {
    if (size >= unit) return `${(size / unit).toFixed(1)} ${name}`;
  }
  return `${size} B`;
}
