// What the API sends, from its OpenAPI document.
import type { components } from "./schema";

type Schemas = components["schemas"];

export type State = Schemas["State"];
export type StateList = Schemas["StateList"];
export type RuleState = Schemas["RuleState"];
export type WindowValue = Schemas["WindowValue"];
export type Rule = Schemas["Rule"];
export type Rules = Schemas["Rules"];
export type Explanation = Schemas["Explanation"];
export type Contribution = Schemas["Contribution"];
export type Verification = Schemas["Verification"];
export type LoggedEvent = Schemas["LoggedEvent"];
export type EventList = Schemas["EventList"];
export type Principals = Schemas["Listed_Principal"];
export type Problem = Schemas["Problem"];
