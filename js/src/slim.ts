// The package without a word on where its files lie: for libraries, which leave loading to the application.

export type { EngineInfo } from "./engine.js";
export { PlimsollError, type Diagnostic, type ErrorCode } from "./error.js";
export { Preview, type PreviewOptions } from "./preview.js";
export { engineInfo, load, type Sources } from "./runtime.js";
export { runScenarios, type ScenarioOptions, type ScenarioOutcome, type ScenarioReport } from "./scenarios.js";
export type { WasmSource } from "./source.js";
export type { Input, ReadOptions } from "./stream.js";
export type { Account, DeadRecord, Int, Pane, PaneInfo, PolicyInfo, Progress, Range, Row, Scalar, WindowTotal } from "./types.js";
