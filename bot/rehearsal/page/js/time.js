// Times in words, in the reader's own zone and the page's English. Relative ones tick by themselves.

const format = (options) => new Intl.DateTimeFormat("en-GB", options);
const CLOCK = format({ hour: "2-digit", minute: "2-digit" });
const DAY = format({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
const FULL = format({ weekday: "long", day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit" });
const STYLES = {
  t: CLOCK,
  T: format({ hour: "2-digit", minute: "2-digit", second: "2-digit" }),
  d: format({ day: "2-digit", month: "2-digit", year: "numeric" }),
  D: format({ day: "numeric", month: "long", year: "numeric" }),
  f: format({ day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit" }),
  F: FULL,
};
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "always" });
const STEPS = [["year", 31_557_600], ["month", 2_629_800], ["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

export const clock = (date) => CLOCK.format(date);
export const fullTime = (date) => FULL.format(date);
export const sameDay = (a, b) => a.toDateString() === b.toDateString();

/** "Today", "Yesterday" or the day in full. */
export function dayName(date, now = new Date()) {
  if (sameDay(date, now)) return "Today";
  const yesterday = new Date(now);
  yesterday.setDate(now.getDate() - 1);
  return sameDay(date, yesterday) ? "Yesterday" : DAY.format(date);
}

/** A message's time: the clock today, with the day before it otherwise. */
export function messageTime(date, now = new Date()) {
  if (sameDay(date, now)) return clock(date);
  const day = dayName(date, now);
  return day === "Yesterday" ? `Yesterday, ${clock(date)}` : `${STYLES.d.format(date)}, ${clock(date)}`;
}

/** "in 3 minutes", "2 days ago". */
export function relative(seconds, nowMs = Date.now()) {
  const difference = seconds - nowMs / 1000;
  const [unit, size] = STEPS.find(([, length]) => Math.abs(difference) >= length) ?? STEPS.at(-1);
  return RELATIVE.format(Math.trunc(difference / size) || 0, unit);
}

/** <t:seconds:style> in words. A time beyond what dates reach is shown as the number it is. */
export function timestamp(seconds, style) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return String(seconds);
  return style === "R" ? relative(seconds) : (STYLES[style] ?? STYLES.f).format(date);
}

/** 83.4 -> "1:23". */
export function minutes(seconds) {
  const whole = Math.max(0, Math.floor(seconds || 0));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Keeps every <time data-relative="seconds"> on the page right. */
export function tickRelativeTimes() {
  setInterval(() => {
    for (const element of document.querySelectorAll("time[data-relative]")) {
      const text = relative(Number(element.dataset.relative));
      if (element.textContent !== text) element.textContent = text;
    }
  }, 1000);
}
