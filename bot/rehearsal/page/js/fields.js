// The form fields of a modal: text, selects and file uploads, each with its label and the checks that Discord's client makes.

import { TYPE, SELECTS } from "./components.js";
import { fill, freshId, h } from "./dom.js";
import { icon } from "./icons.js";
import { Select } from "./select.js";
import { fileSize } from "./uploads.js";

const PARAGRAPH = 2;
const MAX_TEXT = 4_000;

/** A field: {customId, element, value(), problem(): "" or words, focus()}. null for a component that takes no input. */
export function modalField(component, labels, context) {
  if (component.type === TYPE.TEXT_INPUT) return textField(component, labels);
  if (component.type === TYPE.FILE_UPLOAD) return fileField(component, labels, context);
  if (SELECTS.has(component.type)) return choiceField(component, labels, context);
  return null;
}

const needed = (component) => component.required !== false;

function frame(component, { label, description }, body, { labelFor = null, labelId = freshId("label") } = {}) {
  const error = h("p.field-error", { role: "alert" });
  const element = h("div.field", { dataset: { field: component.custom_id } },
    h("label.field-label", { for: labelFor, id: labelId }, label, needed(component) ? h("span.field-needed", { title: "Needed" }, " *") : null),
    description ? h("p.field-description", {}, description) : null,
    body,
    error,
  );
  const showProblem = (text) => {
    fill(error, text ? [icon("warning"), text] : null);
    element.classList.toggle("field-wrong", Boolean(text));
  };
  return { element, showProblem };
}

function textField(component, labels) {
  const id = freshId("field");
  const long = component.style === PARAGRAPH;
  const most = component.max_length ?? MAX_TEXT;
  const least = component.min_length ?? 0;
  const input = h(long ? "textarea.input" : "input.input", { id, type: long ? null : "text", rows: long ? "4" : null, maxlength: most, placeholder: component.placeholder, "aria-required": String(needed(component)), autocomplete: "off" });
  input.value = component.value ?? "";
  const { element, showProblem } = frame(component, labels, input, { labelFor: id });
  input.addEventListener("input", () => showProblem(""));
  const problem = () => {
    const length = [...input.value].length;
    if (!length) return needed(component) ? "This is needed." : "";
    return length < least ? `At least ${least} characters, please: it has ${length}.` : "";
  };
  return { customId: component.custom_id, element, value: () => input.value, problem, showProblem, focus: () => input.focus() };
}

function choiceField(component, labels, context) {
  const labelId = freshId("label");
  const select = new Select(component, context, { labelledBy: labelId, onCommit: () => showProblem("") });
  const { element, showProblem } = frame(component, labels, select.element, { labelId });
  const problem = () => (needed(component) && !select.values.length ? "Choose one, please." : "");
  return { customId: component.custom_id, element, value: () => select.values, problem, showProblem, focus: () => select.focus() };
}

function fileField(component, labels, { state }) {
  const id = freshId("field");
  const least = component.min_values ?? 1;
  const most = component.max_values ?? 1;
  let files = [];
  const list = h("ul.upload-list");
  const input = h("input", { id, type: "file", multiple: most > 1, class: "visually-hidden", onchange: () => {
    add([...input.files]);
    input.value = "";
  } });
  const range = most === 1 ? "one file" : least === most ? `${most} files` : `${least} to ${most} files`;
  const limit = state.uploadLimit ? `, up to ${fileSize(state.uploadLimit)} each` : "";
  const drop = h("label.upload", { for: id }, icon("download"), h("span", {}, h("strong", {}, "Choose"), " or drop ", range, limit), input);
  const { element, showProblem } = frame(component, labels, [drop, list], {});

  function add(more) {
    const tooBig = more.find((file) => state.uploadLimit && file.size > state.uploadLimit);
    if (tooBig) {
      showProblem(`${tooBig.name} has ${fileSize(tooBig.size)}. The limit here is ${fileSize(state.uploadLimit)} a file.`);
      return;
    }
    files = most === 1 ? more.slice(0, 1) : [...files, ...more];
    showProblem(files.length > most ? `At most ${most} files, please: the rest was left out.` : "");
    files = files.slice(0, most);
    draw();
  }
  function draw() {
    fill(list, files.map((file) => h("li.upload-file", {}, icon("file"), h("span.upload-name", {}, file.name), h("small", {}, fileSize(file.size)),
      h("button.icon-button", { type: "button", "aria-label": `Leave out ${file.name}`, onclick: () => {
        files = files.filter((other) => other !== file);
        draw();
        input.focus();
      } }, icon("close")))));
  }
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("upload-over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("upload-over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    drop.classList.remove("upload-over");
    add([...event.dataTransfer.files]);
  });
  const problem = () => {
    if (!files.length) return needed(component) && least > 0 ? "A file is needed." : "";
    return files.length < least ? `At least ${least} files, please: there are ${files.length}.` : "";
  };
  return { customId: component.custom_id, element, value: () => ({ files }), problem, showProblem, focus: () => input.focus() };
}
