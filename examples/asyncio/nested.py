"""The mended twin of not_nested.py: the context travels with the job, so that each "resize" is below its "request"."""
import asyncio

from opentelemetry import context, trace

tracer = trace.get_tracer(__name__)


async def worker(queue):
    while True:
        name, parent, done = await queue.get()
        with tracer.start_as_current_span("resize", context=parent) as span:
            span.set_attribute("image", name)
            await asyncio.sleep(0.01)
        done.set_result(None)


async def request(queue, number):
    with tracer.start_as_current_span("request") as span:
        span.set_attribute("number", number)
        jobs = [asyncio.get_running_loop().create_future() for _ in range(3)]
        for i, done in enumerate(jobs):
            await queue.put((f"{number}-{i}.png", context.get_current(), done))
        await asyncio.gather(*jobs)


async def main():
    queue = asyncio.Queue()
    workers = [asyncio.create_task(worker(queue)) for _ in range(2)]
    await asyncio.gather(*(request(queue, number) for number in range(4)))
    for task in workers:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
