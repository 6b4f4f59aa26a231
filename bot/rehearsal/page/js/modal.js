// A modal that the bot opened: its fields in a dialog, checked and sent together.

import { TYPE } from "./components.js";
import { fill, freshId, h } from "./dom.js";
import { modalField } from "./fields.js";
import { icon } from "./icons.js";
import { prose } from "./prose.js";
import { avatar } from "./avatar.js";

/** modal: {interaction_id, custom_id, title, components}. */
export function openModal(modal, context) {
  const { state, actions } = context;
  const fields = [];
  const addField = (component, labels) => {
    const field = modalField(component, labels, context);
    if (field) fields.push(field);
    return field?.element ?? h("p.unknown", {}, `(A field of type ${component.type}, which this page does not draw)`);
  };
  const body = modal.components.map((component) => {
    if (component.type === TYPE.TEXT_DISPLAY) return prose(component.content, context);
    if (component.type === TYPE.LABEL) return addField(component.component, { label: component.label, description: component.description });
    // The older form: an action row around a text input that has its own label.
    return (component.components ?? [component]).map((child) => addField(child, { label: child.label ?? "", description: null }));
  });

  const titleId = freshId("modal");
  const error = h("p.modal-error", { role: "alert" });
  const submit = h("button.button.button-primary", { type: "submit" }, "Submit");
  const form = h("form.modal-form", { novalidate: true, autocomplete: "off", onsubmit: (event) => onSubmit(event) },
    h("header.modal-head", {}, state.bot ? avatar(state.bot, "small") : null, h("h2", { id: titleId }, modal.title), h("button.icon-button", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"))),
    h("div.modal-body", {}, body, error),
    h("footer.modal-foot", {}, h("button.button.button-secondary", { type: "button", onclick: () => dialog.close() }, "Cancel"), submit),
  );
  const dialog = h("dialog.modal", { "aria-labelledby": titleId, onclose: () => dialog.remove() }, form);

  async function onSubmit(event) {
    event.preventDefault();
    const wrong = fields.filter((field) => {
      field.showProblem(field.problem());
      return field.problem();
    });
    if (wrong.length) {
      wrong[0].focus();
      return;
    }
    submit.disabled = true;
    submit.textContent = "Sending…";
    try {
      await actions.submitModal(modal, Object.fromEntries(fields.map((field) => [field.customId, field.value()])));
      dialog.close();
    } catch (problem) {
      fill(error, icon("warning"), problem.message);
      submit.disabled = false;
      submit.textContent = "Submit";
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  fields[0]?.focus();
  return dialog;
}
