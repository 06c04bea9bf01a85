"""A server that sends back whatever comes: `echo.py HOST:PORT`."""

import asyncio
import sys


async def serve(host: str, port: int) -> None:
    """Listen until killed."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, host, port)
    await server.serve_forever()


if __name__ == "__main__":
    name, _, number = sys.argv[1].rpartition(":")
    asyncio.run(serve(name, int(number)))
