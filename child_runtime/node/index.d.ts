/** Claims now, and not at the first listen. True: this process serves. */
export function serve(): Promise<boolean>;
export function serving(): boolean;
/** Says that this process accepts. False: nobody is there to hear it. */
export function ready(): boolean;
/** Runs once when the process is to end; it ends when all promises are settled. */
export function onDrain(fn: (drain: { budgetMs: number }) => void | Promise<void>): void;
/** Starts tracing once. `first`: where it was first called. */
export function setupTracing(): { started: boolean; first: string };
export const instanceId: string;
export class MailboxSpanProcessor {
  onStart(span: unknown, parentContext?: unknown): void;
  onEnd(span: unknown): void;
  forceFlush(): Promise<void>;
  shutdown(): Promise<void>;
}
