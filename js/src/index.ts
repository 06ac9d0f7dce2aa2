// The types of the package, the same for every entry.

export * from "./slim.js";
