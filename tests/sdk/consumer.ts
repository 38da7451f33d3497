// Compiles only if the contract's components arrive as named types with their fields.
import createClient from "openapi-fetch";
import type { components, paths } from "./api";

type Channel = components["schemas"]["Channel"];
type Problem = components["schemas"]["Problem"];

const client = createClient<paths>({ baseUrl: "http://localhost:8000" });

export async function create(): Promise<Channel> {
  const { data, error } = await client.POST("/channel", {
    body: { name: "RastaPank", keyname: "gr-rstpk-1", type: "radio", url: "http://rs.radio.uoc.gr:8000/uoc_64.mp3" },
  });
  if (error) {
    const problem: Problem = error;
    throw new Error(problem.detail);
  }
  return data;
}

// @ts-expect-error a type of station that the contract does not know
export const wrong: Channel["type"] = "podcast";
