// The stand-in's knobs. They stand in the model id, behind the word `sandbox`: the gateway takes such an id for one of Bedrock's own.

const knob = (...knobs) => ["anthropic.claude-3-haiku-20240307-v1:0", "sandbox", ...knobs].join(".");

/** Waits before the head of the answer. */
export const late = (seconds) => knob(`delay-${Math.round(seconds * 1000)}ms`);
/** Waits between two frames of a stream. */
export const slow = (seconds) => knob(`pause-${Math.round(seconds * 1000)}ms`);
/** Answers with an error of Bedrock's instead. */
export const refuse = (exception) => knob(`error-${exception}`);
/** Sends an exception behind three pieces of content. */
export const refuseInStream = (exception) => knob(`exception-${exception}`, "after-3");
